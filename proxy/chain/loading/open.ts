/** Imports the module of a plugin and checks its shape. */
import { execFile } from 'node:child_process'
import type { Field } from '../../config/fields.ts'
import { messageOf } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { PluginModule } from '../../plugin.ts'
import { importModule, provideApi } from './embedded.ts'
import { PluginLoadError } from './error.ts'
import type { Located } from './locate.ts'
import { faultOfName } from './names.ts'

/** Checks that the default export is a plugin. Node caches modules: a changed file needs a restart. Throws {@link PluginLoadError}. */
export async function openModule(located: Located, clock: Clock): Promise<PluginModule> {
  const { file } = located
  let imported: Readonly<Record<string, unknown>>
  try {
    imported = await importPlugin(located.url, clock)
  } catch (error) {
    if (error instanceof PluginLoadError) throw new PluginLoadError(`${file} ${error.message}`)
    const place = `${file}${error instanceof SyntaxError ? await lineOf(error, file) : ''}`
    throw new PluginLoadError(`${place} cannot be imported: ${messageOf(error)}${remedy(error)}`, { cause: error })
  }
  const module = defaultOf(imported)
  const fault = module === undefined ? 'has no default export' : faultOf(module)
  if (fault !== undefined)
    throw new PluginLoadError(`${file} ${fault}; export default definePlugin({ name, options, onError, create })`)
  return module as PluginModule
}

/** The API of plugins, as a file. */
const api = new URL(import.meta.url.endsWith('.ts') ? '../../plugin.ts' : '../../plugin.js', import.meta.url).href

/** Long enough for a plugin that reads a file or calls a server at its top level. */
const importMs = 10_000

async function importPlugin(url: string, clock: Clock): Promise<Readonly<Record<string, unknown>>> {
  const late = Promise.withResolvers<never>()
  const stop = clock.after(importMs, () =>
    late.reject(
      new PluginLoadError(`was not imported within ${importMs / 1000} s; a top-level \`await\` may not wait forever`),
    ),
  )
  const withdraw = await provideApi(api)
  try {
    return await Promise.race([importModule(url), late.promise])
  } finally {
    stop()
    withdraw()
  }
}

/** Also accepts an `export default` that was compiled to CommonJS. */
function defaultOf(imported: Readonly<Record<string, unknown>>): unknown {
  const { default: exported } = imported
  return (Object(exported) as { __esModule?: unknown }).__esModule
    ? (exported as { default?: unknown }).default
    : exported
}

/** Why a value is not a plugin module; undefined if it is one. */
export function faultOf(module: unknown): string | undefined {
  if (typeof module !== 'object' || module === null) return 'does not export a plugin'
  const { name, options, onError, decides, appliesTo, create } = module as Readonly<Record<string, unknown>>
  const badName = faultOfName(name)
  if (badName !== undefined) return `has a bad name: ${badName}`
  if (!isTableOfFields(options)) return 'has no options; write options: {} if it takes none'
  if (onError !== 'refuse' && onError !== 'skip') return 'has no onError; write "refuse" for a law or "skip" for a wish'
  if (decides !== undefined && decides !== 'change' && decides !== 'flow')
    return 'has a bad decides; write "change" or "flow"'
  if (appliesTo !== undefined && typeof appliesTo !== 'function') return 'has an appliesTo that is not a function'
  return typeof create === 'function' ? undefined : 'has no create(options, host)'
}

function isTableOfFields(options: unknown): boolean {
  if (typeof options !== 'object' || options === null) return false
  return Object.values(options).every(field => typeof (Object(field) as Partial<Field<unknown>>).parse === 'function')
}

/** `:3`, the line of a syntax error. Node keeps that of JavaScript for itself, but `node --check` prints it. */
async function lineOf(error: SyntaxError, file: string): Promise<string> {
  const lineIn = (text: string) => {
    const at = text.indexOf(`${file}:`)
    return at < 0 ? undefined : /^\d+/.exec(text.slice(at + file.length + 1))?.[0]
  }
  const line = lineIn(error.stack ?? '') ?? lineIn(await checked(file))
  return line === undefined ? '' : `:${line}`
}

function checked(file: string): Promise<string> {
  return new Promise(resolve => {
    execFile(process.execPath, ['--check', file], { timeout: 5000 }, (_, _out, said) => resolve(said))
  })
}

function remedy(error: unknown): string {
  // `npm init` writes "type": "commonjs", and Node then takes the plugin for CommonJS.
  if (error instanceof SyntaxError && /import statement outside a module|token 'export'/.test(error.message))
    return '; name it .mjs or .mts, or set "type": "module" in the package.json beside it'
  const { code } = Object(error) as { code?: unknown }
  return (typeof code === 'string' && remedies[code]) || ''
}

const remedies: Readonly<Record<string, string>> = {
  ERR_MODULE_NOT_FOUND: '; install the packages that it imports',
  ERR_UNKNOWN_FILE_EXTENSION: '; use .js or .mjs, or .ts on Node 22.18 and later',
  ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX:
    '; only erasable TypeScript syntax is supported (no enum, no parameter properties)',
  ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING: '; a package must contain JavaScript',
}
