/** Where the module of a plugin is: `use` of the configuration -> URL. A bare word, a path and `npm:` never get mixed up. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { didYouMean, shown } from '../../config/fields.ts'
import { messageOf } from '../../model/error.ts'
import { isPluginName } from '../../model/plugin-name.ts'
import { Unloadable } from './unloadable.ts'

export interface Located {
  readonly url: string
  /** `built-in`, or what the configuration says. */
  readonly from: string
  /** The file, for messages. */
  readonly file: string
}

/** `folder` is the configuration file's: paths and packages are found from there. */
export function locate(use: string, folder: string): Located {
  if (use.startsWith('npm:')) return located(entryOfPackage(use.slice(4), folder), use)
  if (/^(\.{0,2}\/)/.test(use)) return located(fileAt(resolve(folder, use)), use)
  if (isPluginName(use)) return located(builtIn(use), 'built-in')
  throw new Unloadable(`${shown(use)} is no plugin; write a name (affinity), a path (./my-plugin.js) or npm:NAME`)
}

function located(file: string, from: string): Located {
  return { url: pathToFileURL(file).href, from, file }
}

function fileAt(file: string): string {
  if (!existsSync(file)) throw new Unloadable(`there is no file ${file}; paths are relative to the configuration file`)
  if (statSync(file).isDirectory()) throw new Unloadable(`${file} is a folder; name the file in it`)
  return file
}

// Built-in plugins stand beside proxy/, as source here and compiled in the package.
const pluginsFolder = fileURLToPath(new URL('../../../plugins/', import.meta.url))
const indexFile = import.meta.url.endsWith('.ts') ? 'index.ts' : 'index.js'

function builtIn(name: string): string {
  const file = join(pluginsFolder, name, indexFile)
  if (existsSync(file)) return file
  const known = builtInNames()
  const hint = didYouMean(name, known) || `; for a file of your own write ./${name}.js, for a package npm:${name}`
  throw new Unloadable(`no built-in plugin is named "${name}"${hint} (built in: ${known.join(', ')})`)
}

function builtInNames(): string[] {
  return readdirSync(pluginsFolder, { withFileTypes: true })
    .filter(entry => entry.isDirectory() && existsSync(join(pluginsFolder, entry.name, indexFile)))
    .map(entry => entry.name)
    .sort()
}

/**
 * The file that `import NAME` from the folder would take. Node can be asked for what `require` would take only, which is
 * another file or none at all for a package of ES modules, so `exports` is read here.
 */
function entryOfPackage(name: string, folder: string): string {
  if (!/^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/.test(name)) {
    throw new Unloadable(`${shown(`npm:${name}`)} names no package; write npm:NAME or npm:@SCOPE/NAME`)
  }
  const places = createRequire(join(folder, 'from-here.js')).resolve.paths(name) ?? []
  const home = places.map(place => join(place, name)).find(place => existsSync(join(place, 'package.json')))
  if (home === undefined) throw new Unloadable(`package ${name} is not installed; run npm install ${name} in ${folder}`)
  const entry = entryOf(manifestIn(home))
  if (entry === undefined) throw new Unloadable(`package ${name} in ${home} exports nothing that can be imported`)
  return fileAt(join(home, entry))
}

interface Manifest {
  readonly exports?: unknown
  readonly main?: unknown
}

function manifestIn(home: string): Manifest {
  const file = join(home, 'package.json')
  try {
    return Object(JSON.parse(readFileSync(file, 'utf8'))) as Manifest
  } catch (error) {
    throw new Unloadable(`${file} cannot be read: ${messageOf(error)}; install the package again`)
  }
}

function entryOf({ exports, main }: Manifest): string | undefined {
  if (exports === undefined || exports === null) return typeof main === 'string' ? main : 'index.js'
  const target = Object.hasOwn(Object(exports), '.') ? (exports as { '.': unknown })['.'] : exports
  return conditional(target)
}

/** The first target whose conditions hold for an `import` in Node, as the package orders them. */
function conditional(target: unknown): string | undefined {
  if (typeof target === 'string') return target.startsWith('./') ? target : undefined
  if (typeof target !== 'object' || target === null) return undefined
  const held = Array.isArray(target)
    ? target
    : Object.entries(target)
        .filter(([condition]) => ['import', 'node', 'module-sync', 'default'].includes(condition))
        .map(([, nested]) => nested as unknown)
  for (const nested of held) {
    const found = conditional(nested)
    if (found !== undefined) return found
  }
  return undefined
}
