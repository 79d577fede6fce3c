/** Watches paths for file events, through all their folders and links. */
import { type FSWatcher, watch } from 'node:fs'
import { readlink } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, parse, resolve, sep } from 'node:path'

/** Which events of a folder matter. */
interface Interest {
  /** Those of all its entries. */
  all: boolean
  /** Components of a followed path: with another one of the name, folders below are others too. */
  readonly names: Set<string>
}

interface Watch {
  readonly watcher: FSWatcher
  interest: Interest
}

/** As many links as Linux follows in one path. */
const maxLinks = 40

/**
 * Only folders are watched: a watch of a file stays with the old inode, while editors and Kubernetes replace files. A mounted
 * ConfigMap or a checkout of git-sync changes by a link above the file, so every component of a path is followed.
 */
export class PathWatch {
  readonly #changed: () => void
  readonly #refused: (folder: string, error: unknown) => void
  readonly #watches = new Map<string, Watch>()
  #isClosed = false

  /** `refused`: a folder whose entries are all of interest cannot be watched; its changes are not reported. */
  constructor(changed: () => void, refused: (folder: string, error: unknown) => void = () => {}) {
    this.#changed = changed
    this.#refused = refused
  }

  /** What a scan does not name is no longer watched after it. A scan should name each path before it reads it. */
  begin(): PathScan {
    const wanted = new Map<string, Interest>()
    const links = new Map<string, Promise<string | undefined>>()
    const want = (path: string): Interest => {
      const interest = wanted.get(path) ?? { all: false, names: new Set() }
      wanted.set(path, interest)
      this.#add(path, interest)
      return interest
    }
    return {
      folder: path => {
        want(resolve(path)).all = true
      },
      follow: path => follow(path, (folder, name) => want(folder).names.add(name), links),
      end: () => this.#keep(wanted),
    }
  }

  close(): void {
    this.#isClosed = true
    this.#keep(new Map())
  }

  #add(folder: string, interest: Interest): void {
    if (this.#isClosed) return
    const known = this.#watches.get(folder)
    if (known) {
      known.interest = interest
      return
    }
    try {
      const watcher = watch(folder, { persistent: false }, (event, name) => this.#onEvent(folder, event, name))
      watcher.on('error', () => this.#onEvent(folder, 'rename', basename(folder)))
      this.#watches.set(folder, { watcher, interest })
    } catch (error) {
      // Reported once the interest is complete; a folder that is gone is noticed by its parent.
      if (!isGone(error)) queueMicrotask(() => interest.all && this.#refused(folder, error))
    }
  }

  #onEvent(folder: string, event: string, name: string | null): void {
    const interest = this.#watches.get(folder)?.interest
    if (!interest) return
    const isStep = name === null || name === basename(folder) || interest.names.has(name)
    if (!isStep && !interest.all) return
    // Something was created, moved or removed under this name. If it was a folder or a link, watches are on the old one.
    if (event === 'rename') {
      if (isStep) this.#keep(new Map())
      else this.#end(join(folder, name))
    }
    this.#changed()
  }

  #keep(wanted: ReadonlyMap<string, Interest>): void {
    for (const folder of this.#watches.keys()) if (!wanted.has(folder)) this.#end(folder)
  }

  #end(folder: string): void {
    this.#watches.get(folder)?.watcher.close()
    this.#watches.delete(folder)
  }
}

export interface PathScan {
  /** Reports every change of the entries of a folder. One that does not exist is ignored. */
  folder(path: string): void
  /** Reports when the path leads to something else, or its file is written. It need not exist yet. */
  follow(path: string): Promise<void>
  end(): void
}

export function isGone(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'ENOENT' || code === 'ENOTDIR'
}

/** Calls `enter` with the real folder of each component, before it is read; stops at the first that does not exist. */
async function follow(
  path: string,
  enter: (folder: string, name: string) => void,
  links: Map<string, Promise<string | undefined>>,
): Promise<void> {
  const { root } = parse(resolve(path))
  const names = componentsOf(resolve(path).slice(root.length))
  let folder = root
  for (let followed = 0; followed <= maxLinks; ) {
    const name = names.shift()
    if (name === undefined) return
    if (name === '..') {
      folder = dirname(folder)
      continue
    }
    enter(folder, name)
    const step = join(folder, name)
    const reading = links.get(step) ?? readlink(step).catch(notLink)
    links.set(step, reading)
    const target = await reading
    if (target === undefined) return
    if (target === '') folder = step
    else {
      followed++
      if (isAbsolute(target)) folder = root
      names.unshift(...componentsOf(target))
    }
  }
}

function componentsOf(path: string): string[] {
  return path.split(sep).filter(name => name !== '' && name !== '.')
}

/** Empty for a file or folder, undefined for what does not exist or cannot be read. */
function notLink(error: unknown): '' | undefined {
  return error instanceof Error && 'code' in error && error.code === 'EINVAL' ? '' : undefined
}
