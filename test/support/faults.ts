/** Faulty backends and slow writers for tests, and the count of sockets and bytes that are held. */
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
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
 * A backend whose SYNs get no answer: a thread listens with the shortest backlog and never accepts, and its backlog is full,
 * so that the kernel drops further SYNs.
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

/** A backend without a listener: connections are refused at once. */
export async function refusing(given: Partial<Backend> = {}): Promise<Backend> {
  return backend({ address: '127.0.0.1', port: await freePort('127.0.0.1'), ...given })
}

/** Writes in pieces, each after the one before is flushed. */
export async function trickle(socket: Socket, data: Buffer, pieces: Iterable<number>): Promise<void> {
  let at = 0
  for (const length of pieces) {
    if (at >= data.length) break
    const piece = data.subarray(at, at + length)
    at += piece.length
    await new Promise<void>(resolve => socket.write(piece, () => resolve()))
  }
}

/** Number of net and dgram sockets and listeners that this process holds. */
export function openSockets(): number {
  return process.getActiveResourcesInfo().filter(name => /TCP|UDP/.test(name)).length
}

/** What the sockets of this process are called in /proc: also those that no object of Node owns any more. */
export function socketDescriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap(descriptor => {
    try {
      const target = readlinkSync(`/proc/self/fd/${descriptor}`)
      return target.startsWith('socket:') ? [target] : []
    } catch {
      return [] // closed since, as is the one that read the folder
    }
  })
}

/** Bytes in reachable buffers, counted after garbage collection. */
export async function heldBytes(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  collect()
  await settled() // buffers are freed on another thread
  collect()
  return process.memoryUsage().arrayBuffers
}
