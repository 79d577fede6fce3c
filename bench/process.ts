/** Child processes of a benchmark: started here, measured through /proc, stopped by pid. Linux only. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** Unit of utime and stime in /proc: USER_HZ is 100 on every architecture that Node runs on. */
const ticksPerSecond = 100

/** How long a child may take to become ready. */
const startMs = 60_000

const running = new Set<Child>()

/** Stops every child that is still running. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map(child => child.stop()))
}

/** On SIGINT and SIGTERM: stops every child, does `after` and exits with 1. */
export function stopOnSignal(after: () => void = () => {}): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, async () => {
      await stopAll()
      after()
      process.exit(1)
    })
  }
}

export class Child {
  readonly #process: ChildProcess

  private constructor(process: ChildProcess) {
    this.#process = process
  }

  /**
   * Starts a command and waits until all TCP `ports` of 127.0.0.1 accept and `ready` returns true. Rejects at once when a
   * port is in use, and with the end of its stderr when the command exits first or is not ready within a minute.
   */
  static async start(
    command: string,
    args: readonly string[],
    ports: readonly number[],
    ready: () => Promise<boolean> = async () => true,
  ): Promise<Child> {
    for (const port of ports) if (await accepts(port)) throw new Error(`port ${port} is in use; choose another --port`)
    const spawned = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let stderr = ''
    spawned.stderr?.on('data', chunk => {
      stderr = (stderr + chunk).slice(-2000)
    })
    spawned.on('error', error => {
      stderr = error.message
    })
    const child = new Child(spawned)
    running.add(child)
    const deadline = performance.now() + startMs
    const listens = async () => (await Promise.all(ports.map(accepts))).every(Boolean)
    while (!((await listens()) && (await ready()))) {
      if (spawned.pid === undefined || spawned.exitCode !== null || performance.now() > deadline) {
        await child.stop()
        throw new Error(
          `${command} is not ready${ports.length > 0 ? ` on ${ports.join(', ')}` : ''}: ${stderr.trim() || 'nothing on stderr'}`,
        )
      }
      await wait(20)
    }
    return child
  }

  /** CPU seconds that the process and its descendants have used. */
  cpu(): number {
    return family(this.#process.pid).reduce((sum, pid) => sum + cpuOf(pid), 0)
  }

  /** CPU seconds of the main thread, which is the one that runs JavaScript in Node; in nanoseconds, from schedstat. */
  mainThreadCpu(): number {
    return Number(readFileSync(`/proc/${this.#process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e9
  }

  /** CPU seconds of each thread by its number, with its name; in nanoseconds, from schedstat. */
  threadsCpu(): Map<number, { readonly name: string; readonly seconds: number }> {
    const folder = `/proc/${this.#process.pid}/task`
    const found = new Map<number, { readonly name: string; readonly seconds: number }>()
    for (const id of readdirSync(folder)) {
      const seconds = Number(readFileSync(`${folder}/${id}/schedstat`, 'utf8').split(' ')[0]) / 1e9
      found.set(Number(id), { name: readFileSync(`${folder}/${id}/comm`, 'utf8').trim(), seconds })
    }
    return found
  }

  /** User memory of the process and its descendants in KiB (PSS: a shared page counts in proportion). */
  memory(): number {
    return family(this.#process.pid).reduce((sum, pid) => sum + pssOf(pid), 0)
  }

  async stop(): Promise<void> {
    running.delete(this)
    if (this.#process.pid === undefined || this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = once(this.#process, 'exit')
    const descendants = family(this.#process.pid).slice(1)
    this.#process.kill('SIGTERM')
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 5000)
    await exited
    clearTimeout(timer)
    for (const pid of descendants) stopOrphan(pid)
  }
}

function family(pid: number | undefined): number[] {
  if (pid === undefined) return []
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return [
      pid,
      ...children
        .split(' ')
        .filter(Boolean)
        .flatMap(child => family(Number(child))),
    ]
  } catch {
    return [pid]
  }
}

function cpuOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  } catch {
    return 0
  }
}

function pssOf(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1])
}

/** Stops a worker whose master has exited; does nothing when it has exited too. */
function stopOrphan(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch {}
}

function accepts(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

/** Whether a datagram to a UDP port of 127.0.0.1 is answered within a tenth of a second: UDP has no accept to wait for. */
export async function answersDatagrams(port: number): Promise<boolean> {
  const socket = createSocket('udp4')
  try {
    socket.send('ready?', port, '127.0.0.1')
    await once(socket, 'message', { signal: AbortSignal.timeout(100) })
    return true
  } catch {
    return false
  } finally {
    socket.close()
  }
}
