/** Checks a configuration as far as possible without binding an address or sending a packet. */
import type { Loaded } from '../config/load.ts'
import type { Problem } from '../model/error.ts'
import type { PluginView } from '../model/views.ts'
import { readOffline } from './offline.ts'
import { sourceText } from './sources/cluster-sources.ts'
import { localProblems } from './status/local-checks.ts'
import { pluginsOf } from './views.ts'

export interface Report {
  readonly clusters: readonly {
    readonly name: string
    readonly source: string
    /** False for a source on the network, which is not contacted. */
    readonly read: boolean
    readonly services: number
    readonly globalServices: number
    readonly backends: number
    /** The sorts of objects in its manifests that are not read: `Deployment (apps/v1)`. */
    readonly ignored: readonly string[]
  }[]
  /** Empty when a plugin cannot be loaded. */
  readonly chain: readonly PluginView[]
  readonly problems: readonly Problem[]
}

/** `env`: for `KUBECONFIG` and `HOME`. */
export async function validate(
  loaded: Loaded,
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<Report> {
  const offline = await readOffline(loaded)
  const { mesh, admission, chain, errors, unread, ignored } = offline
  const report: Report = {
    clusters: loaded.config.clusters.map(({ name, source }) => {
      const { services, globalServices, backends } = mesh.summary(name)
      return {
        name,
        source: sourceText(source),
        read: 'manifests' in source,
        services,
        globalServices,
        backends,
        ignored: ignored.get(name) ?? [],
      }
    }),
    chain: pluginsOf(chain),
    problems: [
      ...unread,
      ...(await localProblems(loaded.config, env)),
      ...mesh.problems(),
      ...admission.problems(),
      ...errors.map(problemOf),
      ...chain.faults(),
      ...chain.findings(),
    ],
  }
  await offline.close()
  return report
}

/** The message of a plugin error begins with its place, followed by two spaces. */
function problemOf({ code, message }: { readonly code: Problem['code']; readonly message: string }): Problem {
  const [where = '', ...rest] = message.split('  ')
  return { code, where, message: rest.join('  ') }
}
