/** The door of the web console: files for a browser, and nothing else. All it does goes through the operators' API (docs/console.md). */
export { consoleFiles, consoleHeaders, consolePlugin } from './plugin.ts';
