export { Http2Connection, type ConnectionLimits } from './connection.ts';
export { connectionSpecific } from './field.ts';
export { errorCode, mostWindowBytes } from './frame.ts';
export type { RequestHead } from './request-head.ts';
export { SmallCall } from './small-call.ts';
export { Http2Stream } from './stream.ts';
export type { StreamPort } from './stream-port.ts';
