/** Servers that do not do their part. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'
import { eventually } from './eventually.ts'

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

/** Sends SIGSTOP, and waits until every thread stands still: on a busy machine they run on for a while. */
export async function pause(child: ChildProcess): Promise<void> {
  child.kill('SIGSTOP')
  const tasks = `/proc/${child.pid}/task`
  await eventually(async () => {
    const stats = (await readdir(tasks)).map(task => readFile(`${tasks}/${task}/stat`, 'utf8'))
    // The state follows the name, which is in brackets and may contain any character (proc_pid_stat(5)).
    for (const stat of await Promise.all(stats)) assert.match(stat, /\) T [^)]*$/)
  })
}

/** A port whose connections are never established: the queue of a process that stands still is full. */
export async function deafPort(t: Test): Promise<number> {
  const code =
    'const s = require("net").createServer(() => {}); s.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(s.address().port))'
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(line)
  await pause(child)
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
