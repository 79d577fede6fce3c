/** Loads the `plugins` of the configuration. All errors of all plugins are reported at once. */
import { isDeepStrictEqual } from 'node:util'
import { type Fields, type Options, type Path, parseFields, pathText } from '../../config/fields.ts'
import { type ErrorCode, MeshError } from '../../model/error.ts'
import type { PluginModule } from '../../plugin.ts'
import type { HostParts } from '../host.ts'
import { PluginLoadError } from './error.ts'
import { instantiate, type LoadedPlugin } from './instance.ts'
import { type Located, locate } from './locate.ts'
import { faultOfName } from './names.ts'
import { openModule } from './open.ts'

/** One entry of `plugins`. */
export interface PluginUse {
  /** `affinity`, `./my-plugin.js` or `npm:NAME`. */
  readonly use: string
  /** The name of this instance; by default the name of the module. */
  readonly as?: string | undefined
  readonly options?: unknown
}

export interface LoadRequest {
  readonly uses: readonly PluginUse[]
  /** The folder of the configuration file; paths and packages are resolved from here. */
  readonly folder: string
  /** The place of a path in the configuration: `starlane.yaml:14`. */
  readonly placeOf: (path: Path) => string
  readonly host: HostParts
  /** The instances of the previous configuration. Those whose entry is unchanged are kept, with their state. */
  readonly living?: readonly LoadedPlugin[]
}

/** If there is an error there are no plugins, and instances that were created are closed again. */
export interface LoadResult {
  readonly plugins: readonly LoadedPlugin[]
  readonly errors: readonly MeshError[]
  /** Instances that are kept and get other options, once the chain is replaced. */
  readonly inPlace: readonly NewOptions[]
}

export interface NewOptions {
  readonly loaded: LoadedPlugin
  readonly options: Options<Fields>
  readonly given: unknown
}

export async function loadPlugins(request: LoadRequest): Promise<LoadResult> {
  const load = new Load(request)
  const found: Found[] = []
  for (const [i, use] of request.uses.entries()) found.push(...(await load.find(use, ['plugins', i])))
  const plans = load.uniquelyNamed(found).flatMap(entry => load.parse(entry))
  if (load.errors.length > 0) return { plugins: [], errors: load.errors, inPlace: [] }

  const plugins = plans.flatMap(plan => load.create(plan))
  if (load.errors.length === 0) return { plugins, errors: [], inPlace: load.inPlace }
  const fresh = plugins.filter(loaded => !request.living?.includes(loaded))
  await Promise.allSettled(fresh.map(async ({ plugin }) => plugin.close?.()))
  return { plugins: [], errors: load.errors, inPlace: [] }
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

/** Each step returns a list of one, or records an error and returns an empty list. */
class Load {
  readonly errors: MeshError[] = []
  readonly inPlace: NewOptions[] = []
  #request: LoadRequest

  constructor(request: LoadRequest) {
    this.#request = request
  }

  async find({ use, as, options }: PluginUse, path: Path): Promise<Found[]> {
    const badName = as === undefined ? undefined : faultOfName(as)
    if (badName !== undefined) return this.#fault('PLUGIN_LOAD', [...path, 'as'], badName)
    try {
      const located = locate(use, this.#request.folder)
      const module = await openModule(located, this.#request.host.clock)
      return [{ path, name: as ?? module.name, located, module, given: options ?? {} }]
    } catch (error) {
      return this.#loadError([...path, 'use'], error)
    }
  }

  uniquelyNamed(found: readonly Found[]): Found[] {
    return found.flatMap((entry, i) => {
      const other = found.slice(0, i).find(({ name }) => name === entry.name)
      if (!other) return [entry]
      const message = `"${entry.name}" is already the name of ${pathText(other.path)}; give this one another name with \`as\``
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
    const known = living.find(one => one.name === name && one.module === module)
    if (known && isDeepStrictEqual(known.given, given)) return [known]
    if (known && module.optionsInPlace) {
      this.inPlace.push({ loaded: known, options, given })
      return [known]
    }
    try {
      return [instantiate(module, options, host, { name, from: located.from, given })]
    } catch (error) {
      return this.#loadError(path, error)
    }
  }

  #loadError(path: Path, error: unknown): [] {
    if (!(error instanceof PluginLoadError)) throw error
    return this.#fault('PLUGIN_LOAD', path, error.message, error.cause)
  }

  #fault(code: ErrorCode, path: Path, message: string, cause?: unknown): [] {
    this.errors.push(new MeshError(code, `${this.#request.placeOf(path)}  ${pathText(path)}: ${message}`, { cause }))
    return []
  }
}
