/** The files and modules that belong to this program: in a checkout, in the npm package, or inside the single executable. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Script } from 'node:vm'

/** What the single executable carries in place of files and modules on disk; `scripts/release/entry.ts` provides it. */
export interface Embedded {
  /** Paths from the root of the package: `conf/demo/cluster-1/rebel-base.yaml`. */
  readonly files: readonly string[]
  read(file: string): Uint8Array
  /** By path: `plugins/affinity`, and `starlane`, the API of plugins. */
  readonly modules: Readonly<Record<string, () => Promise<Readonly<Record<string, unknown>>>>>
  /** What {@link loadEmbedded} has loaded before, by file. */
  readonly loaded?: Readonly<Record<string, unknown>>
}

let embedded: Embedded | undefined

/** Called once, by the entry of the single executable, before anything else runs. */
export function embed(contents: Embedded): void {
  embedded = contents
}

/** Undefined when the program runs from files. */
export function embeddedModules(): Embedded['modules'] | undefined {
  return embedded?.modules
}

// A build has proxy/ and plugins/ in dist/, one level below conf/, deploy/ and native/.
const code = new URL('../../../', import.meta.url)
const root = import.meta.url.endsWith('.ts') ? code : new URL('../', code)

/** A file beside the code, as text: `proxy/admin/page/index.html`. Throws if there is none. */
export function readCodeFile(path: string): string {
  return embedded ? Buffer.from(embedded.read(path)).toString() : readFileSync(new URL(path, code), 'utf8')
}

/**
 * The path of a file or folder of the package: `conf/demo`, `deploy`. The single executable extracts the top folder it is in, with
 * what the file may refer to, until the process ends.
 */
export function packagePath(path: string): string {
  if (!embedded) return fileURLToPath(new URL(path, root))
  const [top = path] = path.split('/')
  const folder = extracted.get(top) ?? extractAll(embedded, top)
  extracted.set(top, folder)
  return join(folder, path)
}

/** Temporary folders by the top folder that they hold. */
const extracted = new Map<string, string>()

function extractAll(from: Embedded, top: string): string {
  const folder = privateFolder(tmpdir())
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  for (const file of from.files) {
    if (file === top || file.startsWith(`${top}/`)) extract(from, file, folder)
  }
  return folder
}

/**
 * Calls `load` with the path of an embedded file that was extracted to a folder where its machine code may run, and removes the
 * file. Undefined without such a file. Throws what `load` threw for the last folder when none will do.
 */
export function loadEmbedded<T>(file: string, load: (path: string) => T): T | undefined {
  if (!embedded?.files.includes(file)) return undefined
  if (embedded.loaded && file in embedded.loaded) return embedded.loaded[file] as T
  let fault: unknown
  // A root file system may be read-only, and a temporary folder may be mounted noexec.
  for (const place of [tmpdir(), process.env.XDG_RUNTIME_DIR, '/dev/shm', '/run']) {
    if (!place) continue
    let folder: string | undefined
    try {
      folder = privateFolder(place)
      return load(extract(embedded, file, folder))
    } catch (error) {
      fault = error
    } finally {
      if (folder) rmSync(folder, { recursive: true, force: true })
    }
  }
  throw fault
}

/** Where the single executable has a module that runs in a thread of its own. */
export const threadFile = (module: string): string => `threads/${basename(module)}.cjs`

/** A module that runs in a thread of its own, by its path without an ending: where it is, or its text in the single executable. */
export function threadModule(module: string): URL | string {
  if (embedded) return Buffer.from(embedded.read(threadFile(module))).toString()
  return new URL(`${module}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, code)
}

/** Where the single executable has a library of npm that it carries beside its main bundle. */
export const libraryFile = (name: string): string => `libraries/${name.replace('/', '-')}.cjs`

/** Where it has the code that V8 has compiled of one of its scripts, if it has any. */
export const codeFile = (script: string): string => script.replace(/\.cjs$/, '.cache')

const libraries = new Map<string, unknown>()

/** What the CommonJS module of such a library exports. It is compiled and run at its first use. */
export function embeddedLibrary(name: string): unknown {
  if (!embedded) throw new Error('this is no single executable')
  if (!libraries.has(name)) {
    const filename = libraryFile(name)
    const code = codeFile(filename)
    const module = { exports: {} }
    const script = new Script(Buffer.from(embedded.read(filename)).toString('latin1'), {
      filename,
      ...(embedded.files.includes(code) && { cachedData: embedded.read(code) }),
    })
    script.runInThisContext()(module, module.exports, createRequire(process.execPath))
    libraries.set(name, module.exports)
  }
  return libraries.get(name)
}

/** The command that runs this program again with `args`. */
export function ownCommand(args: readonly string[]): [program: string, ...args: string[]] {
  if (embedded) return [process.execPath, ...args]
  return [process.execPath, ...process.execArgv, packagePath('bin/starlane.js'), ...args]
}

/** Mode 0700. */
function privateFolder(place: string): string {
  return mkdtempSync(join(place, 'starlane-'))
}

function extract(from: Embedded, file: string, folder: string): string {
  const path = join(folder, file)
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  writeFileSync(path, from.read(file), { mode: 0o600, flag: 'wx' })
  return path
}
