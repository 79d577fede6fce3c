/**
 * Node's HTTP. Imported by name it would load all that it re-exports, a WebSocket client with undici among it: 12 MiB of resident
 * memory that a start pays.
 */
export const { createServer, get, request } = process.getBuiltinModule('node:http')
