/** Chains and plugin hosts for tests: a fake clock, seeded random numbers, and the first backend unless a plugin picks. */
import type { Test } from 'tap'
import { type Chain, type ChainParts, createChain } from '../../proxy/chain/chain.ts'
import type { HostParts } from '../../proxy/chain/host.ts'
import { instantiate, type LoadedPlugin } from '../../proxy/chain/loading/instance.ts'
import { parseFields, pathText } from '../../proxy/config/fields.ts'
import type { Cluster } from '../../proxy/model/cluster.ts'
import type { Choice } from '../../proxy/model/flow.ts'
import { silentLog } from '../../proxy/model/log.ts'
import type { Plugin, PluginModule } from '../../proxy/plugin.ts'
import { FakeClock } from './clock.ts'
import { FakeDirectory } from './model.ts'
import { seeded } from './random.ts'

export const threeClusters: readonly Cluster[] = [
  { name: 'cluster-1', id: 1, local: true },
  { name: 'cluster-2', id: 2, local: false },
  { name: 'cluster-3', id: 3, local: false },
]

export function hostParts(
  given: Partial<Omit<HostParts, 'clusters'>> & { clusters?: readonly Cluster[] } = {},
): HostParts {
  const { clusters = threeClusters, ...rest } = given
  return { clock: new FakeClock(), random: seeded(1), log: silentLog, ...rest, clusters: () => clusters }
}

/** A plugin with options as written in a configuration. */
export function plugin(
  module: PluginModule,
  { options, parts = hostParts(), name }: { options?: unknown; parts?: HostParts; name?: string } = {},
): LoadedPlugin {
  const parsed = parseFields(module.options, options, ['options'], ({ path, message }) => {
    throw new TypeError(`${pathText(path)}: ${message}`)
  })
  return instantiate(module, parsed ?? {}, parts, name === undefined ? {} : { name })
}

/** A plugin that consists of hooks only. */
export function hooks(name: string, made: Plugin, given: Partial<PluginModule> = {}): LoadedPlugin {
  return plugin({ name, options: {}, onError: 'skip', ...given, create: () => made })
}

export function startChain(t: Test, given: Partial<ChainParts> = {}): Chain {
  const chain = createChain({
    plugins: [],
    balancer: () => ({ pick: (_flow, backends) => backends[0] as (typeof backends)[number] }),
    directory: new FakeDirectory(),
    clock: new FakeClock(),
    log: silentLog,
    ...given,
  })
  t.teardown(() => chain.close())
  return chain
}

/** `10.0.0.1` or `refused by tenancy`. */
export function outcome({ backend, refusal }: Choice): string {
  return backend ? backend.address : `refused by ${refusal?.code}`
}
