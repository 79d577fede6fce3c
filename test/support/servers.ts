/** Servers that do not do their part. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

/** Accepts, reads, and says only what it is given. */
export async function silentServer(t: Test, heard: (socket: Socket, bytes: Buffer) => void = () => {}) {
  const sockets = new Set<Socket>()
  let accepted = 0
  let received = 0
  const server = createServer(socket => {
    accepted++
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    socket.on('data', bytes => {
      received += bytes.length
      heard(socket, bytes)
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    accepted: () => accepted,
    received: () => received,
    sockets,
  }
}

/** A port whose connections are never established: the queue of a process that stands still is full. */
export async function deafPort(t: Test): Promise<number> {
  const code =
    'const s = require("net").createServer(() => {}); s.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(s.address().port))'
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(line)
  child.kill('SIGSTOP')
  const fillers: Socket[] = []
  t.teardown(() => {
    for (const filler of fillers) filler.destroy()
  })
  for (let isFull = false; !isFull; ) {
    const filler = connect(port, '127.0.0.1')
    filler.on('error', () => {})
    fillers.push(filler)
    const timeout = new Promise<'full'>(resolve => setTimeout(resolve, 150, 'full'))
    isFull = (await Promise.race([once(filler, 'connect'), timeout])) === 'full'
  }
  return port
}
