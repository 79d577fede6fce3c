/** Modules inside the single executable, as the loader of Node sees them: `starlane:plugins/affinity`. */
import { createRequire, registerHooks } from 'node:module'
import { embeddedModules } from '../../model/program/package-files.ts'

const scheme = 'starlane:'
type Namespace = Readonly<Record<string, unknown>>

/** `path` is a key of {@link embeddedModules}. */
export function embeddedUrl(path: string): string {
  return scheme + path
}

/** What `import(url)` does, also where the program is a single executable: there `import()` knows only Node's own modules. */
export function importModule(url: string): Promise<Namespace> {
  const modules = embeddedModules()
  if (!modules) return import(url) as Promise<Namespace>
  const embedded = url.startsWith(scheme) ? modules[url.slice(scheme.length)] : undefined
  return embedded ? embedded() : (fromDisk(url) as Promise<Namespace>)
}

/**
 * Makes `import 'starlane'` in a plugin mean this program's own API, wherever the plugin is. `file` is the URL of that module.
 * The result ends it.
 */
export async function provideApi(file: string): Promise<() => void> {
  const embedded = await embeddedModules()?.starlane?.()
  const url = embedded ? embeddedUrl('starlane') : file
  const hooks = registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'starlane' ? { url, shortCircuit: true } : next(specifier, context),
    load: (asked, context, next) =>
      embedded && asked === url
        ? { format: 'module', source: reexport(embedded), shortCircuit: true }
        : next(asked, context),
  })
  return () => hooks.deregister()
}

/** A module on disk and one inside the executable can meet only in a global. */
const shared = Symbol.for('starlane.plugin-api')

function reexport(api: Namespace): string {
  Object.assign(globalThis, { [shared]: api })
  const names = Object.keys(api).filter(name => name !== 'default')
  return `const api = globalThis[Symbol.for('${shared.description}')]\nexport const { ${names.join(', ')} } = api\n`
}

/** The ordinary `import()`, from a module that exists only in the loader's hooks: the executable's own knows no files. */
async function fromDisk(url: string): Promise<unknown> {
  const importer = `${scheme}importer`
  const hooks = registerHooks({
    resolve: (specifier, context, next) =>
      specifier === importer ? { url: importer, shortCircuit: true } : next(specifier, context),
    load: (asked, context, next) =>
      asked === importer
        ? { format: 'commonjs', source: 'module.exports = url => import(url)', shortCircuit: true }
        : next(asked, context),
  })
  try {
    return createRequire(process.execPath)(importer)(url)
  } finally {
    hooks.deregister()
  }
}
