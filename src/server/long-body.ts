/** Requests whose body may take longer than `requestTimeout` to arrive: their face watches that they go on. */
export const longBody = Symbol('body without a time limit');
export interface LongBody {
  [longBody]?: boolean;
}
