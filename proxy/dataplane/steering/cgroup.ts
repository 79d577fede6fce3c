/** Finds the cgroup and the folder in bpffs that steering uses, or says what is missing. */
import { mkdirSync, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { MeshError, messageOf } from '../../model/error.ts'

/** linux/magic.h */
const cgroup2Magic = 0x63677270
const bpffsMagic = 0xcafe4a11

/** The root of the first mount of cgroup v2, in the text of /proc/self/mountinfo. */
export function cgroupRoot(mounts: string): string | undefined {
  for (const line of mounts.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    if (after.startsWith('cgroup2 ')) return before.split(' ')[4]?.replace(/\\(\d{3})/g, (_, octal) => octalChar(octal))
  }
  return undefined
}

/** `configured`, or the root of cgroup v2. Throws `MeshError` OFFLOAD. */
export function findCgroup(configured: string | undefined): string {
  const path = configured ?? cgroupRoot(readFileSync('/proc/self/mountinfo', 'utf8'))
  if (path === undefined) {
    throw new MeshError(
      'OFFLOAD',
      'no cgroup v2 is mounted here, and the kernel steers nobody in cgroup v1; mount it (mount -t cgroup2 none /sys/fs/cgroup/unified), or boot with systemd.unified_cgroup_hierarchy=1',
    )
  }
  const type = typeOf(path)
  if (type === cgroup2Magic) return path
  const what = type === undefined ? 'cannot be read' : 'is no cgroup v2'
  throw new MeshError('OFFLOAD', `proxy.ebpf.cgroup: ${path} ${what}; give a folder below a mount of cgroup v2`)
}

/**
 * Creates the folder where links and maps are pinned: `PIN/NAME`. Throws `MeshError` OFFLOAD where that is no bpffs, or may not be
 * written.
 */
export function pinFolder(pin: string, name: string): string {
  try {
    const parent = typeOf(pin) === undefined ? dirname(pin) : pin
    if (typeOf(parent) !== bpffsMagic) throw new Error(`${parent} is no bpffs`)
    mkdirSync(`${pin}/${name}`, { recursive: true, mode: 0o700 })
    return `${pin}/${name}`
  } catch (error) {
    const remedy = 'mount it (mount -t bpf bpf /sys/fs/bpf), or set proxy.ebpf.pin to none'
    throw new MeshError('OFFLOAD', `nothing can be pinned: ${messageOf(error)}; ${remedy}`, { cause: error })
  }
}

/** What tells one cgroup and network namespace of this machine from the others. */
export function scopeOf(cgroup: string): string {
  return `${statSync(cgroup).ino}-${statSync('/proc/self/ns/net').ino}`
}

/** The folders that processes with another layout have left for the same scope. */
export function leftFolders(pin: string, scope: string, current: string | undefined): string[] {
  try {
    const all = readdirSync(pin).filter(name => name.startsWith(`${scope}-`))
    return all.map(name => `${pin}/${name}`).filter(path => path !== current)
  } catch {
    return [] // there is no such folder
  }
}

function typeOf(path: string): number | undefined {
  try {
    return statfsSync(path).type >>> 0
  } catch {
    return undefined
  }
}

function octalChar(octal: string): string {
  return String.fromCharCode(Number.parseInt(octal, 8))
}
