import { openSync, write, closeSync } from 'node:fs';
import type { AuditRecord, AuditStream } from './record.ts';
import type { AuditConfig } from '../config/model.ts';
export type ServerAudit = { append(r: AuditRecord): void; close(): Promise<void> };
export async function openAuditStream(c: AuditConfig, _o: object): Promise<AuditStream> { const fd = c.path==='-'?-1:openSync(c.path,'a'); const l=new Set<(r:AuditRecord)=>void>();
 return { append(r){ for(const f of l) f(r); if(c.mode==='off'||fd<0) return undefined; return new Promise((res,rej)=>write(fd, JSON.stringify(r)+'\n',(e)=>e?rej(e):res())) }, subscribe(f){l.add(f);return()=>l.delete(f)}, async close(){ if(fd>=0) closeSync(fd)} } }
export async function openServerAudit(_c: AuditConfig): Promise<ServerAudit> { return { append(){}, async close(){} } }
export function kesAuditLine(r: AuditRecord) { return JSON.stringify(r)+'\n' }
