/** Runs iproute2: queries as JSON, changes as batches, and its monitor. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { MeshError } from '../model/error.ts'
import type { Command } from './command.ts'
import { parseShown, type Query, type ShowWireguard } from './present.ts'
import { argumentsFor, endProgram, knownPrograms } from './wireguard/program.ts'
import { parseDump } from './wireguard/state.ts'

const timeoutMs = 10_000
/** The routes of a large node. */
const maxBuffer = 64 << 20

export interface IpRoute {
  /** What `wg show NAME dump` says; undefined where it answers nothing, or there is no `wg`. */
  readonly wireguard: ShowWireguard
  /** Rejects with UNDERLAY. */
  readonly query: Query
  /** In order. What fails does not keep the rest from being done; rejects with UNDERLAY and what has failed. */
  execute(commands: readonly Command[]): Promise<void>
  /** Calls back when links, addresses or routes of the machine have changed. Returns how to stop it. */
  watch(changed: () => void, ended: (why: string) => void): () => void
}

/**
 * `within`: a command that runs others, as `nsenter --net=FILE`; by default the programs run as they are. `program`: carries WireGuard where
 * the kernel does not; by default the first of those known that there is.
 */
export function createIpRoute(within: readonly string[] = [], program?: string): IpRoute {
  const commandOf = (program: string, args: readonly string[]): [string, string[]] => {
    const [first = program, ...rest] = [...within, program, ...args]
    return [first, rest]
  }

  const run = (program: string, args: readonly string[], input: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const options = { timeout: timeoutMs, maxBuffer, env: environment() }
      const child = execFile(...commandOf(program, args), options, (error, out, said) => {
        if (error) reject(new MeshError('UNDERLAY', failureOf(program, error, said, input), { cause: error }))
        else resolve(out)
      })
      child.stdin?.on('error', () => {})
      child.stdin?.end(input)
    })

  /** By the kernel, else by a program, which goes on in the background until the device is removed. */
  const createWireguard = async (name: string): Promise<void> => {
    const refused = await run('ip', ['link', 'add', 'dev', name, 'type', 'wireguard'], '').then(
      () => undefined,
      (error: MeshError) => error,
    )
    if (!refused) return
    if (!/unknown device type|not supported/i.test(refused.message)) throw refused
    const programs = program === undefined ? knownPrograms : [program]
    for (const each of programs) {
      const failure = await run(each, argumentsFor(each, name), '').then(
        () => undefined,
        (error: MeshError) => error,
      )
      if (!failure) return
      if (!isMissing(failure)) throw failure
    }
    const remedy = 'load the module wireguard, or install wireguard-go, or name a program in underlay.program'
    throw new MeshError('UNDERLAY', `the kernel has no WireGuard, and there is no ${programs.join(', no ')}; ${remedy}`)
  }

  const executeBatch = async (batch: readonly Command[]): Promise<void> => {
    const [first] = batch
    if (first?.program === 'device') return createWireguard(first.line)
    if (first?.program === 'wg') return void (await run('wg', first.args ?? [], ''))
    const input = batch.map(({ line }) => `${line}\n`).join('')
    await run(first?.program ?? 'ip', ['-force', '-batch', '-'], input)
    for (const { line } of batch) {
      const [, name] = /^link del dev (\S+)$/.exec(line) ?? []
      if (name !== undefined) await endProgram(name, (await run('readlink', ['/proc/self/ns/net'], '')).trim())
    }
  }

  return {
    wireguard: async name => {
      const text = await run('wg', ['show', name, 'dump'], '').catch(() => '')
      return parseDump(text)
    },
    query: async (program, args) => parseShown(await run(program, ['-j', ...args], '')),
    execute: async commands => {
      const failures: string[] = []
      for (const batch of batchesOf(commands)) {
        await executeBatch(batch).catch((error: MeshError) => failures.push(error.message))
      }
      if (failures.length > 0) throw new MeshError('UNDERLAY', failures.join('; '))
    },
    watch: (changed, ended) => {
      const child: ChildProcess = spawn(...commandOf('ip', ['-o', 'monitor', 'link', 'address', 'route']), {
        stdio: ['ignore', 'pipe', 'ignore'],
        env: environment(),
      })
      let isStopped = false
      child.stdout?.on('data', changed)
      child.once('error', error => isStopped || ended(error.message))
      child.once('exit', (code, signal) => isStopped || ended(`ip monitor has ended (${signal ?? code})`))
      return () => {
        isStopped = true
        child.kill()
      }
    },
  }
}

/** Faults are recognized by their messages in the C locale. Debian keeps these programs out of users' PATH. boringtun keeps its rights. */
function environment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    LC_ALL: 'C',
    PATH: [process.env.PATH, '/usr/sbin', '/sbin'].filter(Boolean).join(':'),
    WG_SUDO: 'true',
  }
}

/** Neighbours in the list that are for one program. */
function batchesOf(commands: readonly Command[]): Command[][] {
  const batches: Command[][] = []
  for (const command of commands) {
    const last = batches.at(-1)
    const isJoined = command.program === 'ip' || command.program === 'bridge'
    if (isJoined && last?.[0]?.program === command.program) last.push(command)
    else batches.push([command])
  }
  return batches
}

/** `Error: …` and `Command failed -:3`, for each line of the batch that failed. */
function failureOf(program: string, error: Error & { code?: unknown }, said: string, input: string): string {
  if (error.code === 'ENOENT')
    return `there is no program ${program}; install ${program === 'wg' ? 'wireguard-tools' : 'iproute2'}`
  const lines = input.split('\n')
  const parts = said.split(/Command failed -:(\d+)/)
  const failed = parts.flatMap((text, i) =>
    i % 2 === 1 ? `${program} ${lines[Number(text) - 1]}: ${oneLine(parts[i - 1])}` : [],
  )
  const kind = /type (vxlan|geneve) .*unknown device type/i.exec(failed[0] ?? '')?.[1]
  if (kind !== undefined) return unknownKind(kind)
  const why = failed.length > 0 ? shortened(failed) : `${program}: ${oneLine(said) || error.message}`
  return /not permitted/i.test(said) ? `${why}; it needs root or the capability NET_ADMIN` : why
}

/** All that would be set on the device fails as well. */
function unknownKind(kind: string): string {
  const other = kind === 'geneve' ? 'vxlan' : 'direct'
  return `the kernel has no ${kind}; load its module (modprobe ${kind}), or use underlay.mode: ${other}`
}

const isMissing = ({ cause }: MeshError): boolean => (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'

const oneLine = (text = ''): string => text.trim().replace(/\s*\n\s*/g, ', ')

function shortened(failed: readonly string[]): string {
  const more = failed.length - 3
  return more > 0 ? `${failed.slice(0, 3).join('; ')}; and ${more} more` : failed.join('; ')
}
