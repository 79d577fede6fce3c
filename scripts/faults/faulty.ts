/** Backends that fail in one way or the other, and come back. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { type Faulty, nft, sleep } from './scene.ts'

/** Its process is killed: connections are reset, and it listens no more. */
export async function killable(ip: string): Promise<Faulty> {
  let server = await listening(ip)
  return {
    fail: () => server.stop(),
    heal: async () => {
      server = await listening(ip)
    },
    close: () => server.stop(),
  }
}

/** It accepts, and resets at once. */
export async function resetting(ip: string): Promise<Faulty> {
  let resets = false
  const server = await listening(ip, () => resets)
  return {
    fail: () => {
      resets = true
    },
    heal: () => {
      resets = false
    },
    close: () => server.stop(),
  }
}

/** It answers late. */
export async function slow(ip: string): Promise<Faulty> {
  let lateMs = 0
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    socket.on('data', data => void setTimeout(() => socket.write(data), lateMs))
    socket.on('end', () => void setTimeout(() => socket.end(), lateMs))
  })
  await once(server.listen({ host: ip, port: 8000, backlog: 512 }), 'listening')
  return {
    fail: () => {
      lateMs = 1000
    },
    heal: () => {
      lateMs = 0
    },
    close: () => void server.close(),
  }
}

/** Its process stands still (SIGSTOP): the kernel goes on accepting. */
export async function stoppable(ip: string): Promise<Faulty> {
  const script = `require('net').createServer({ allowHalfOpen: true }, s => s.on('error', () => {}).pipe(s)).listen(8000, '${ip}', () => console.log('on'))`
  const child: ChildProcess = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] })
  if (child.stdout) await once(child.stdout, 'data')
  return {
    fail: () => void child.kill('SIGSTOP'),
    heal: () => void child.kill('SIGCONT'),
    close: () => void child.kill('SIGKILL'),
  }
}

/** Every packet to and from it is dropped. */
export async function silenced(ip: string): Promise<Faulty> {
  const server = await listening(ip)
  return {
    fail: () => drop(ip),
    heal: undrop,
    close: () => {
      undrop()
      server.stop()
    },
  }
}

/** Its host restarts within a moment: what was connected is half open, since nobody has told us of the end. */
export async function restarting(ip: string): Promise<Faulty> {
  let server = await listening(ip)
  return {
    fail: async () => {
      drop(ip)
      // Resets, which nobody gets.
      server.stop()
      await sleep(50)
      server = await listening(ip)
      undrop()
    },
    heal: () => {},
    close: () => {
      undrop()
      server.stop()
    },
  }
}

function drop(ip: string): void {
  nft(`table inet starlane-fault { chain output { type filter hook output priority 0; policy accept;
    ip daddr ${ip} drop; ip saddr ${ip} drop; }; }`)
}

function undrop(): void {
  nft('delete table inet starlane-fault')
}

async function listening(ip: string, isResetting = () => false): Promise<{ stop(): void }> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    if (isResetting()) return void socket.resetAndDestroy()
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.pipe(socket)
  })
  await once(server.listen({ host: ip, port: 8000, backlog: 512 }), 'listening')
  return {
    stop: () => {
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
    },
  }
}
