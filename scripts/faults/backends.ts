/**
 * Backends in a process of their own, so that they answer however busy the process of the clients is: TCP and UDP at port 8000 of each
 * address, which answer with what they get. `node scripts/faults/backends.ts ADDRESS…` prints `listening` and runs until it is signalled.
 * A parent with a channel (`fork`) may send `{ begin: ADDRESS }` and `{ end: ADDRESS }`, of which each is answered when it is done: one that
 * ends accepts no more, and goes on with what it has accepted.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

const servers = new Map<string, Server>()
process.on('message', async ({ begin, end }: { begin?: string; end?: string }) => {
  if (begin !== undefined) await listen(begin)
  if (end !== undefined) servers.get(end)?.close()
  process.send?.(begin ?? end ?? '')
})
process.on('disconnect', () => process.exit())
for (const ip of process.argv.slice(2)) {
  await listen(ip)
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
  socket.on('message', (message, { port, address }) => socket.send(message, port, address))
  socket.bind(8000, ip)
  await once(socket, 'listening')
}
console.log('listening')

async function listen(ip: string): Promise<void> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  await once(server.listen({ host: ip, port: 8000, backlog: 4096 }), 'listening')
  servers.set(ip, server)
}
