import { pino } from 'pino';
export type Metrics = ReturnType<typeof createMetrics>; 
export function createMetrics(_o: object) { return { requestEnd(_f:string,_r:string,_t:string|undefined,_s:number,_d:number){}, handshakeRefused(_r:string){}, reloaded(_b:boolean){}, keystore(_t:string){ return (_o:string,_c:string,_s:number)=>{} }, async kesText(){ return {body:'x', contentType:'text/plain; version=0.0.4; charset=utf-8; escaping=underscores'} } } }
export function createErrorLog() { return { subscribe(_f:(l:string)=>void){ return ()=>{} } } }
export function createLogger(c:{level:string}, _o: object) { return pino({level:c.level}, pino.destination(2)) }
export type Health = ReturnType<typeof createHealth>;
export function createHealth() { return { draining:false, replaceChecks(_c:object){} } }
export async function createProbeServer(_c:{host:string,port:number}, _o: object) { return { port:0, async close(){} } }
let n=0; export function newRequestId(){ return String(n++) }
