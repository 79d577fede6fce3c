/**
 * The programs of steering.bpf.c at a cgroup, and their maps. Where a process before this one has left its own in bpffs, its maps are
 * used on, and the programs are replaced in one step each: no client is without them in between.
 */
import { closeSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs'
import { getSystemErrorMap } from 'node:util'
import { MeshError } from '../../model/error.ts'
import type { KernelCalls } from '../../model/sockets/kernel.ts'
import { type KernelObject, linked, readObject } from './object.ts'

/** enum bpf_attach_type of linux/bpf.h. */
const places = {
  connect4: 10,
  connect6: 11,
  sendmsg4: 14,
  sendmsg6: 15,
  recvmsg4: 19,
  recvmsg6: 20,
  getpeername4: 29,
  getpeername6: 30,
} as const
export const mapNames = ['frontends', 'listeners', 'settings', 'slots', 'members', 'reverse', 'sessions'] as const
export type MapName = (typeof mapNames)[number]

const lru = 9
/** Maps that have all their memory from the start are small where nobody is led to backends. */
const fewEntries = 512
const noPermission = -1
const noLink = -67

export interface AttachmentParts {
  readonly kernel: KernelCalls & { readonly object: Buffer }
  /** A folder of cgroup v2. */
  readonly cgroup: string
  /** A folder of bpffs; undefined: links end with this process. */
  readonly folder: string | undefined
  readonly direct: boolean
}

export class Attachment {
  readonly #parts: AttachmentParts
  readonly #object: KernelObject
  readonly #maps = new Map<string, number>()
  readonly #programs = new Map<string, number>()
  readonly #links = new Map<string, number>()
  #adopted = false

  /** Throws `MeshError` OFFLOAD, with nothing left behind that was not there before. */
  constructor(parts: AttachmentParts) {
    this.#parts = parts
    this.#object = readObject(parts.kernel.object)
    try {
      for (const name of mapNames) this.#maps.set(name, this.#openMap(name))
      for (const [name, place] of Object.entries(places)) this.#programs.set(name, this.#load(name, place))
    } catch (error) {
      this.release()
      throw error
    }
  }

  /** Whether the maps are those of a process before this one. */
  get adopted(): boolean {
    return this.#adopted
  }

  /** The programs run from now on. Throws `MeshError` OFFLOAD. */
  attach(): void {
    for (const [name, place] of Object.entries(places)) this.#link(name, place)
  }

  /** Puts the own programs in place of those of a successor that has failed. */
  reclaim(): void {
    for (const [name, link] of this.#links) this.#parts.kernel.replace(link, this.#programs.get(name) as number)
    if (this.#links.size === 0) this.attach()
  }

  map(name: MapName): number {
    return this.#maps.get(name) as number
  }

  /** Returns the error of the kernel, as `E2BIG`; undefined if there is none. */
  put(name: MapName, key: Buffer, value: Buffer): string | undefined {
    return nameOf(this.#parts.kernel.put(this.map(name), key, value))
  }

  drop(name: MapName, key: Buffer): void {
    this.#parts.kernel.drop(this.map(name), key)
  }

  /** The value of a key; undefined if there is none. */
  get(name: MapName, key: Buffer): Buffer | undefined {
    const value = Buffer.alloc(this.#shape(name).valueSize)
    return this.#parts.kernel.get(this.map(name), key, value) < 0 ? undefined : value
  }

  /** All keys, as of the time of the call. */
  keys(name: MapName): Buffer[] {
    const found: Buffer[] = []
    const size = this.#shape(name).keySize
    for (let key: Buffer | undefined; found.length <= this.#shape(name).entries; ) {
      const next = Buffer.alloc(size)
      if (this.#parts.kernel.next(this.map(name), key, next) < 0) break
      found.push(next)
      key = next
    }
    return found
  }

  /** Closes what this process holds: what is pinned stays. */
  release(): void {
    for (const held of [this.#links, this.#programs, this.#maps]) {
      for (const descriptor of held.values()) closeSync(descriptor)
      held.clear()
    }
  }

  /** Detaches the programs, and removes everything. */
  remove(): void {
    const { folder } = this.#parts
    if (folder !== undefined) removePins(folder)
    this.release()
  }

  #shape(name: MapName) {
    const shape = this.#object.maps.get(name)
    if (!shape) throw new MeshError('OFFLOAD', `the addon's programs have no map ${name}; ${rebuild}`)
    return shape
  }

  #openMap(name: MapName): number {
    const { kernel, folder, direct } = this.#parts
    const path = `${folder}/${name}`
    if (folder !== undefined) {
      const pinned = kernel.open(path)
      if (pinned >= 0) {
        this.#adopted = true
        return pinned
      }
    }
    const { type, keySize, valueSize, entries, flags } = this.#shape(name)
    const most = type === lru && !direct ? fewEntries : entries
    const made = kernel.map(`starlane_${name}`.slice(0, 15), type, keySize, valueSize, most, flags)
    if (made < 0) throw refused('a map', made)
    if (folder !== undefined) kernel.pin(made, path)
    return made
  }

  #load(name: string, place: number): number {
    const { kernel } = this.#parts
    const code = this.#object.programs.get(name)
    if (!code) throw new MeshError('OFFLOAD', `the addon has no program ${name}; ${rebuild}`)
    const instructions = linked(code, map => this.map(map as MapName))
    const program = kernel.program(instructions, place, this.#object.license)
    if (program >= 0) return program
    const words = program === noPermission ? '' : kernel.complaint(instructions, place, this.#object.license)
    throw refused(`the program ${name}`, program, words.trim().split('\n').at(-1))
  }

  #link(name: string, place: number): void {
    const { kernel, folder, cgroup } = this.#parts
    const program = this.#programs.get(name) as number
    const path = `${folder}/link_${name}`
    if (folder !== undefined) {
      const pinned = kernel.open(path)
      if (pinned >= 0) {
        const replaced = kernel.replace(pinned, program)
        if (replaced >= 0) {
          this.#links.set(name, pinned)
          return
        }
        // Its cgroup is gone, or it is a link of something else.
        closeSync(pinned)
        unlinkSync(path)
        if (replaced !== noLink) throw refused(`replacing ${name}`, replaced)
      }
    }
    const at = kernel.folder(cgroup)
    if (at < 0) throw refused(`the cgroup ${cgroup}`, at)
    const link = kernel.attach(program, at, place)
    closeSync(at)
    if (link < 0) throw refused(`attaching ${name} to ${cgroup}`, link)
    this.#links.set(name, link)
    if (folder !== undefined) kernel.pin(link, path)
  }
}

/** Removes what is pinned in a folder, and the folder: links without another owner are detached. */
export function removePins(folder: string): void {
  let names: string[] = []
  try {
    names = readdirSync(folder)
  } catch {} // it is not there
  // Links first: no program is to run without its maps' contents.
  for (const name of names.sort((a, b) => Number(b.startsWith('link_')) - Number(a.startsWith('link_'))))
    unlinkSync(`${folder}/${name}`)
  if (names.length > 0) rmdirSync(folder)
}

const rebuild = 'run `npm run build:native`'

function nameOf(result: number): string | undefined {
  if (result >= 0) return undefined
  return getSystemErrorMap().get(result)?.[0] ?? `error ${-result}`
}

function refused(what: string, result: number, words = ''): MeshError {
  const error = nameOf(result) ?? ''
  const said = words ? `: ${words}` : ''
  return new MeshError('OFFLOAD', `the kernel refuses ${what} (${error}${said}); ${remedyOf(error)}`)
}

function remedyOf(error: string): string {
  switch (error) {
    case 'EPERM':
    case 'EACCES':
      return 'run as root with the capabilities BPF and NET_ADMIN (in a pod: capabilities.add; before Linux 5.8 SYS_ADMIN), and see kernel.unprivileged_bpf_disabled and the security profile'
    case 'ENOSYS':
      return 'it was built without CONFIG_BPF_SYSCALL; set proxy.offload to none'
    case 'EINVAL':
    case 'ENOTSUPP':
      return 'it needs Linux 5.8 or newer with CONFIG_CGROUP_BPF; set proxy.offload to none'
    default:
      return 'set proxy.offload to none to do without it'
  }
}
