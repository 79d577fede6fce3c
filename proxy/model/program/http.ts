/**
 * Node's HTTP, loaded at its first use. Imported by name it would load all that it re-exports, a WebSocket client with undici among it:
 * 12 MiB of resident memory that a start pays.
 */
type Http = typeof import('node:http')

const http = (): Http => process.getBuiltinModule('node:http')

export const createServer = ((...args: Parameters<Http['createServer']>) =>
  http().createServer(...args)) as Http['createServer']
export const get = ((...args: Parameters<Http['get']>) => http().get(...args)) as Http['get']
export const request = ((...args: Parameters<Http['request']>) => http().request(...args)) as Http['request']
