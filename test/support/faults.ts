/** What can go wrong with a backend, on purpose. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'
import type { Backend } from '../../proxy/model/backend.ts'
import { freePort } from './backend.ts'
import { settled } from './clock.ts'
import { backend } from './model.ts'

/**
 * A backend whose SYNs are answered by nobody: a thread listens with the shortest backlog, never accepts, and its backlog
 * is full, so that the kernel drops what comes.
 */
export async function blackhole(t: Test, given: Partial<Backend> = {}): Promise<Backend> {
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(listener, { eval: true, workerData: gate })
  t.teardown(async () => {
    Atomics.store(gate, 0, 1)
    Atomics.notify(gate, 0)
    await worker.terminate()
  })
  const [port] = (await once(worker, 'message')) as [number]
  for (let waiting = 0; waiting < 2; waiting++) {
    const socket = connect({ host: '127.0.0.1', port })
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
  }
  return backend({ address: '127.0.0.1', port, ...given })
}

const listener = `
const { createServer } = require('node:net')
const { parentPort, workerData } = require('node:worker_threads')
const server = createServer()
server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {
  parentPort.postMessage(server.address().port)
  Atomics.wait(workerData, 0, 0)
})`

/** A backend nobody listens for: refused at once. */
export async function refusing(given: Partial<Backend> = {}): Promise<Backend> {
  return backend({ address: '127.0.0.1', port: await freePort('127.0.0.1'), ...given })
}

/** Writes piece by piece, each when the one before is written. */
export async function trickle(socket: Socket, data: Buffer, pieces: Iterable<number>): Promise<void> {
  let at = 0
  for (const length of pieces) {
    if (at >= data.length) break
    const piece = data.subarray(at, at + length)
    at += piece.length
    await new Promise<void>(resolve => socket.write(piece, () => resolve()))
  }
}

/** How many sockets and listeners of net and dgram this process holds. */
export function openSockets(): number {
  return process.getActiveResourcesInfo().filter(name => /TCP|UDP/.test(name)).length
}

/** Bytes of buffers that something still holds on to; what is only not collected yet does not count. */
export async function heldBytes(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  collect()
  await settled() // buffers are given back by a thread of their own
  collect()
  return process.memoryUsage().arrayBuffers
}
