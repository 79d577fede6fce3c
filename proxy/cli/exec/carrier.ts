/** What carries a network namespace's other traffic to the machine's network: pasta or slirp4netns, which need no privileges. */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MeshError } from '../../model/error.ts'
import type { Io } from '../terminal/io.ts'

export interface Carrier {
  readonly pid: number
  close(): void
}

export type CarrierName = 'pasta' | 'slirp4netns'

/** The one that is on the PATH; pasta first, since it copies the machine's addresses and does without a copy in user space for loopback. */
export function installedCarrier(env: Io['env']): CarrierName | undefined {
  return (['pasta', 'slirp4netns'] as const).find(name =>
    (env.PATH ?? '').split(':').some(folder => folder !== '' && isExecutable(join(folder, name))),
  )
}

/** Whether the machine itself has a way to other networks. */
export function hasDefaultRoute(): boolean {
  return routesOf('self')
}

const patienceMs = 10_000

/** Runs it for the namespace of a process, until the namespace has a route. */
export async function startCarrier(name: CarrierName, pid: number, io: Io): Promise<Carrier> {
  const child = spawn(name, argumentsOf(name, pid), { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    // Its complaint about a missing system log is not one about the network.
    const lines = `${chunk}`.split('\n').filter(line => line.trim() !== '' && !line.includes('syslog'))
    said = [...said.split('\n'), ...lines].slice(-5).join('\n').slice(-1000).trim()
  })
  const ended = new Promise<string>(resolve => {
    child.once('error', error => resolve(error.message))
    child.once('exit', (code, signal) => resolve(said.replaceAll('\n', '; ') || `it ended with ${signal ?? code}`))
  })
  const outcome = await Promise.race([ended, upWithin(pid, io)])
  if (outcome === true && child.pid !== undefined) return { pid: child.pid, close: () => void child.kill() }
  stop(child)
  const why = outcome === false ? `no route within ${patienceMs / 1000} s` : outcome
  throw new MeshError('EXEC_NETWORK', `${name} gives the command's network no way out: ${why}; use --network host`)
}

function stop(child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) child.kill()
}

/** `pasta PID` joins both namespaces of the process. It forwards no port of the namespace to the machine. */
function argumentsOf(name: CarrierName, pid: number): string[] {
  if (name === 'slirp4netns') return ['--configure', '--mtu=65520', String(pid), 'tap0']
  const user = process.getuid?.() === 0 ? ['--runas', '0:0'] : []
  return ['--foreground', '--quiet', '--config-net', '-t', 'none', '-u', 'none', ...user, String(pid)]
}

async function upWithin(pid: number, { clock }: Io): Promise<boolean> {
  const end = clock.now() + patienceMs
  while (!routesOf(pid)) {
    if (clock.now() >= end) return false
    await new Promise<void>(resolve => clock.after(20, resolve))
  }
  return true
}

/** Whether the network namespace of a process has a default route (proc(5): net/route, net/ipv6_route). */
function routesOf(pid: number | 'self'): boolean {
  const lines = (file: string) => readOr(`/proc/${pid}/net/${file}`).split('\n')
  const v4 = lines('route').some(line => /^\S+\t00000000\t/.test(line))
  return v4 || lines('ipv6_route').some(line => /^0{32} 00 /.test(line) && !/ lo$/.test(line))
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
