/** The `plugins` of the configuration -> living instances. Everything wrong with any of them is told at once. */
import { isDeepStrictEqual } from 'node:util'
import { type Fields, type Options, type Path, parseFields, pathText } from '../../config/fields.ts'
import { type ErrorCode, MeshError } from '../../model/error.ts'
import type { PluginModule } from '../../plugin.ts'
import type { HostParts } from '../host.ts'
import { instantiate, type LoadedPlugin } from './instance.ts'
import { type Located, locate } from './locate.ts'
import { faultOfName } from './names.ts'
import { openModule } from './open.ts'
import { Unloadable } from './unloadable.ts'

/** One entry of `plugins`. */
export interface PluginUse {
  /** `affinity`, `./my-plugin.js` or `npm:NAME`. */
  readonly use: string
  /** The name of this instance; the module's own unless given. */
  readonly as?: string | undefined
  readonly options?: unknown
}

export interface LoadRequest {
  readonly uses: readonly PluginUse[]
  /** Of the configuration file: paths and packages are found from here. */
  readonly folder: string
  /** Where the configuration says it: `starlane.yaml:14`. */
  readonly placeOf: (path: Path) => string
  readonly host: HostParts
  /** The instances of the configuration before. Those whose entry is still the same live on, with all they remember. */
  readonly living?: readonly LoadedPlugin[]
}

/** With any error there are no plugins, and whatever was created on the way is closed again. */
export interface LoadResult {
  readonly plugins: readonly LoadedPlugin[]
  readonly errors: readonly MeshError[]
}

export async function loadPlugins(request: LoadRequest): Promise<LoadResult> {
  const load = new Load(request)
  const found: Found[] = []
  for (const [i, use] of request.uses.entries()) found.push(...(await load.find(use, ['plugins', i])))
  const plans = load.uniquelyNamed(found).flatMap(entry => load.parse(entry))
  if (load.errors.length > 0) return { plugins: [], errors: load.errors }

  const plugins = plans.flatMap(plan => load.create(plan))
  if (load.errors.length === 0) return { plugins, errors: [] }
  const fresh = plugins.filter(loaded => !request.living?.includes(loaded))
  await Promise.allSettled(fresh.map(async ({ plugin }) => plugin.close?.()))
  return { plugins: [], errors: load.errors }
}

interface Found {
  readonly path: Path
  readonly name: string
  readonly located: Located
  readonly module: PluginModule
  readonly given: unknown
}

interface Plan extends Found {
  readonly options: Options<Fields>
}

/** Each step gives a list of one, or notes an error and gives none. */
class Load {
  readonly errors: MeshError[] = []
  #request: LoadRequest

  constructor(request: LoadRequest) {
    this.#request = request
  }

  async find({ use, as, options }: PluginUse, path: Path): Promise<Found[]> {
    const misnamed = as === undefined ? undefined : faultOfName(as)
    if (misnamed !== undefined) return this.#fault('PLUGIN_LOAD', [...path, 'as'], misnamed)
    try {
      const located = locate(use, this.#request.folder)
      const module = await openModule(located, this.#request.host.clock)
      return [{ path, name: as ?? module.name, located, module, given: options ?? {} }]
    } catch (error) {
      return this.#unloadable([...path, 'use'], error)
    }
  }

  uniquelyNamed(found: readonly Found[]): Found[] {
    return found.flatMap((entry, i) => {
      const other = found.slice(0, i).find(({ name }) => name === entry.name)
      if (!other) return [entry]
      const message = `"${entry.name}" is already the name of ${pathText(other.path)}; give this one its own with \`as\``
      return this.#fault('PLUGIN_LOAD', entry.path, message)
    })
  }

  parse(entry: Found): Plan[] {
    const options = parseFields(entry.module.options, entry.given, [...entry.path, 'options'], ({ path, message }) =>
      this.#fault('PLUGIN_OPTION', path, message),
    )
    return options === undefined ? [] : [{ ...entry, options }]
  }

  create({ path, name, located, module, given, options }: Plan): LoadedPlugin[] {
    const { living = [], host } = this.#request
    const known = living.find(one => one.name === name && one.module === module && isDeepStrictEqual(one.given, given))
    if (known) return [known]
    try {
      return [instantiate(module, options, host, { name, from: located.from, given })]
    } catch (error) {
      return this.#unloadable(path, error)
    }
  }

  #unloadable(path: Path, error: unknown): [] {
    if (!(error instanceof Unloadable)) throw error
    return this.#fault('PLUGIN_LOAD', path, error.message, error.cause)
  }

  #fault(code: ErrorCode, path: Path, message: string, cause?: unknown): [] {
    this.errors.push(new MeshError(code, `${this.#request.placeOf(path)}  ${pathText(path)}: ${message}`, { cause }))
    return []
  }
}
