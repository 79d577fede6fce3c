/** The program that carries a WireGuard device where the kernel does not. wireguard-go ends with its device; boringtun has to be told. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** Those that are looked for, in this order. */
export const knownPrograms = ['wireguard-go', 'boringtun-cli', 'boringtun'] as const

/** A socket that boringtun connects to a peer stays when the peer is removed, and takes the packets of the next one at that address. */
export function argumentsFor(program: string, device: string): string[] {
  const name = program.split('/').at(-1) ?? ''
  return [...(name.startsWith('boringtun') ? ['--disable-connected-udp'] : []), device]
}

const waitMs = 2000
const pollMs = 20

/** Resolves once no program carries that device in that network namespace (`net:[4026531840]`), or after 2 s. */
export async function endProgram(device: string, namespace: string): Promise<void> {
  const deadline = performance.now() + waitMs
  const pids = await pidsOf(device, namespace)
  for (const pid of pids) kill(pid)
  for (const pid of pids) while ((await lineOf(pid)) !== '' && performance.now() < deadline) await sleep(pollMs)
}

async function pidsOf(device: string, namespace: string): Promise<number[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter(name => /^\d+$/.test(name))
  const found = await Promise.all(
    pids.map(async pid => {
      const [program = '', ...rest] = (await lineOf(pid)).split('\0').filter(each => each !== '')
      const isProgram = rest.at(-1) === device && knownPrograms.some(known => program.split('/').at(-1) === known)
      if (!isProgram) return []
      const its = await readlink(`/proc/${pid}/ns/net`).catch(() => '')
      return its === namespace ? [Number(pid)] : []
    }),
  )
  return found.flat()
}

/** Empty once it has ended. */
function lineOf(pid: number | string): Promise<string> {
  return readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
}

/** It may have ended meanwhile. */
function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch {}
}
