/** Finds the module of a plugin: `use` of the configuration is a built-in name, a path or `npm:NAME`. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { didYouMean, shown } from '../../config/fields.ts'
import { messageOf } from '../../model/error.ts'
import { embeddedModules } from '../../model/program/package-files.ts'
import { isPluginName } from '../../model/text/plugin-name.ts'
import { embeddedUrl } from './embedded.ts'
import { PluginLoadError } from './error.ts'

export interface Located {
  readonly url: string
  /** `built-in`, or `use` of the configuration. */
  readonly from: string
  /** For messages. */
  readonly file: string
}

/** `folder` is that of the configuration file; paths and packages are resolved from there. Throws {@link PluginLoadError}. */
export function locate(use: string, folder: string): Located {
  if (use.startsWith('npm:')) return located(entryOfPackage(use.slice(4), folder), use)
  if (/^(\.{0,2}\/)/.test(use)) return located(fileAt(resolve(folder, use)), use)
  if (isPluginName(use)) return builtIn(use)
  throw new PluginLoadError(
    `${shown(use)} is not a plugin; write a name (affinity), a path (./my-plugin.js) or npm:NAME`,
  )
}

function located(file: string, from: string): Located {
  return { url: pathToFileURL(file).href, from, file }
}

function fileAt(file: string): string {
  if (!existsSync(file))
    throw new PluginLoadError(`there is no file ${file}; paths are relative to the configuration file`)
  if (statSync(file).isDirectory()) throw new PluginLoadError(`${file} is a folder; give a file in it`)
  return file
}

// Built-in plugins are in plugins/ beside proxy/: TypeScript in the repository, JavaScript in the package.
const pluginsFolder = fileURLToPath(new URL('../../../plugins/', import.meta.url))
const indexFile = import.meta.url.endsWith('.ts') ? 'index.ts' : 'index.js'

function builtIn(name: string): Located {
  const embedded = `plugins/${name}`
  if (embeddedModules()?.[embedded]) return { url: embeddedUrl(embedded), from: 'built-in', file: embedded }
  const file = join(pluginsFolder, name, indexFile)
  if (existsSync(file)) return located(file, 'built-in')
  const known = builtInNames()
  const hint = didYouMean(name, known) || `; for a file write ./${name}.js, for a package npm:${name}`
  throw new PluginLoadError(`no built-in plugin is named "${name}"${hint} (built-in plugins: ${known.join(', ')})`)
}

function builtInNames(): string[] {
  const embedded = embeddedModules()
  if (embedded) {
    const paths = Object.keys(embedded).filter(path => path.startsWith('plugins/'))
    return paths.map(path => basename(path)).sort()
  }
  return readdirSync(pluginsFolder, { withFileTypes: true })
    .filter(entry => entry.isDirectory() && existsSync(join(pluginsFolder, entry.name, indexFile)))
    .map(entry => entry.name)
    .sort()
}

/**
 * The file that `import NAME` would load from the folder. Node can only resolve what `require` would load, which may be
 * another file, or none for an ES module package; so `exports` of the package is read here.
 */
function entryOfPackage(name: string, folder: string): string {
  if (!/^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/.test(name)) {
    throw new PluginLoadError(`${shown(`npm:${name}`)} is not a package name; write npm:NAME or npm:@SCOPE/NAME`)
  }
  const places = createRequire(join(folder, 'from-here.js')).resolve.paths(name) ?? []
  const home = places.map(place => join(place, name)).find(place => existsSync(join(place, 'package.json')))
  if (home === undefined)
    throw new PluginLoadError(`package ${name} is not installed; run npm install ${name} in ${folder}`)
  const entry = entryOf(packageJsonIn(home))
  if (entry === undefined) throw new PluginLoadError(`package ${name} in ${home} has no export that can be imported`)
  return fileAt(join(home, entry))
}

interface PackageJson {
  readonly exports?: unknown
  readonly main?: unknown
}

function packageJsonIn(home: string): PackageJson {
  const file = join(home, 'package.json')
  try {
    return Object(JSON.parse(readFileSync(file, 'utf8'))) as PackageJson
  } catch (error) {
    throw new PluginLoadError(`${file} cannot be read: ${messageOf(error)}; install the package again`)
  }
}

function entryOf({ exports, main }: PackageJson): string | undefined {
  if (exports === undefined || exports === null) return typeof main === 'string' ? main : 'index.js'
  const target = Object.hasOwn(Object(exports), '.') ? (exports as { '.': unknown })['.'] : exports
  return conditional(target)
}

/** The first target, in the order of the package, whose conditions match an `import` in Node. */
function conditional(target: unknown): string | undefined {
  if (typeof target === 'string') return target.startsWith('./') ? target : undefined
  if (typeof target !== 'object' || target === null) return undefined
  const matching = Array.isArray(target)
    ? target
    : Object.entries(target)
        .filter(([condition]) => ['import', 'node', 'module-sync', 'default'].includes(condition))
        .map(([, nested]) => nested as unknown)
  for (const nested of matching) {
    const found = conditional(nested)
    if (found !== undefined) return found
  }
  return undefined
}
