import { registerHooks } from 'node:module'
import type { Field } from '../../config/fields.ts'
import { messageOf } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { PluginModule } from '../../plugin.ts'
import type { Located } from './locate.ts'
import { faultOfName } from './names.ts'
import { Unloadable } from './unloadable.ts'

/** Imports the file and checks that its default export is a plugin. Code is read once: a changed file wants a restart. */
export async function openModule(located: Located, clock: Clock): Promise<PluginModule> {
  const { file } = located
  let imported: Readonly<Record<string, unknown>>
  try {
    imported = await importPlugin(located.url, clock)
  } catch (error) {
    if (error instanceof Unloadable) throw new Unloadable(`${file} ${error.message}`)
    throw new Unloadable(`${file} cannot be imported: ${messageOf(error)}${remedy(error)}`, { cause: error })
  }
  const module = defaultOf(imported)
  const fault = module === undefined ? 'has no default export' : faultOf(module)
  if (fault !== undefined)
    throw new Unloadable(`${file} ${fault}; export default definePlugin({ name, options, onError, create })`)
  return module as PluginModule
}

/** The API that a plugin imports as `starlane`, wherever it lies and whatever is installed beside it: this program's own. */
const api = new URL(import.meta.url.endsWith('.ts') ? '../../plugin.ts' : '../../plugin.js', import.meta.url).href

/** Long enough for a plugin that reads a file or asks a server first. */
const importMs = 10_000

async function importPlugin(url: string, clock: Clock): Promise<Readonly<Record<string, unknown>>> {
  const late = Promise.withResolvers<never>()
  const stop = clock.after(importMs, () =>
    late.reject(
      new Unloadable(`is not read after ${importMs / 1000} s; no \`await\` at its top level may wait for ever`),
    ),
  )
  const hooks = registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'starlane' ? { url: api, shortCircuit: true } : next(specifier, context),
  })
  try {
    return (await Promise.race([import(url), late.promise])) as Readonly<Record<string, unknown>>
  } finally {
    stop()
    hooks.deregister()
  }
}

/** What CommonJS made of an `export default` counts too. */
function defaultOf(imported: Readonly<Record<string, unknown>>): unknown {
  const { default: exported } = imported
  return (Object(exported) as { __esModule?: unknown }).__esModule
    ? (exported as { default?: unknown }).default
    : exported
}

/** What keeps a value from being a plugin module; undefined when nothing does. */
export function faultOf(module: unknown): string | undefined {
  if (typeof module !== 'object' || module === null) return 'does not export a plugin'
  const { name, options, onError, decides, appliesTo, create } = module as Readonly<Record<string, unknown>>
  const misnamed = faultOfName(name)
  if (misnamed !== undefined) return `has a bad name: ${misnamed}`
  if (!isTableOfFields(options)) return 'has no table of options; write options: {} if it takes none'
  if (onError !== 'refuse' && onError !== 'skip') return 'does not say onError: "refuse" (a guard) or "skip" (a wish)'
  if (decides !== undefined && decides !== 'change' && decides !== 'flow')
    return 'says neither decides: "change" nor "flow"'
  if (appliesTo !== undefined && typeof appliesTo !== 'function') return 'has an appliesTo that is no function'
  return typeof create === 'function' ? undefined : 'has no create(options, host)'
}

function isTableOfFields(options: unknown): boolean {
  if (typeof options !== 'object' || options === null) return false
  return Object.values(options).every(field => typeof (Object(field) as Partial<Field<unknown>>).parse === 'function')
}

function remedy(error: unknown): string {
  // What `npm init` writes says "type": "commonjs", and then Node takes the plugin beside it for that.
  if (error instanceof SyntaxError && /import statement outside a module|token 'export'/.test(error.message))
    return '; end its name in .mjs or .mts, or write "type": "module" in the package.json beside it'
  const { code } = Object(error) as { code?: unknown }
  return (typeof code === 'string' && remedies[code]) || ''
}

const remedies: Readonly<Record<string, string>> = {
  ERR_MODULE_NOT_FOUND: '; install what it imports beside it',
  ERR_UNKNOWN_FILE_EXTENSION: '; write .js or .mjs, or .ts on Node 22.18 and later',
  ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX:
    '; only types that can be erased are understood (no enum, no parameter properties)',
  ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING: '; a package has to bring JavaScript',
}
