/** A lock on something of which a network namespace has only one, held for as long as the process lives. */
import { createServer, type Server } from 'node:net'

/**
 * Takes the lock: an abstract socket. Undefined when another process of this network namespace has it. Closing the server
 * gives it back.
 */
export function takeLock(name: string): Promise<Server | undefined> {
  const server = createServer().unref()
  return new Promise(resolve => {
    server.once('error', () => resolve(undefined))
    server.listen(`\0${name}`, () => resolve(server))
  })
}
