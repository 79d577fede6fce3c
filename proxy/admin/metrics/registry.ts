/** The registry of prom-client with all metrics of one runtime. Loaded by the first scrape: the library takes 19 MiB. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Counter, collectDefaultMetrics, Gauge, type MetricObject, Registry } from 'prom-client'
import { openDescriptors } from '../../model/limits/descriptors.ts'
import { addDnsMetrics } from './dns.ts'
import type { FlowCounts } from './flow-counts.ts'
import { addFlowMetrics } from './flows.ts'
import { addGauges } from './gauges.ts'
import { addHealthMetrics } from './health.ts'
import { openMetricsOf } from './open-metrics.ts'
import type { MetricDescription, MetricsParts } from './parts.ts'
import { addPluginFaults, followPluginCounters } from './plugins.ts'

/** The name that every Prometheus client gives it. */
const openFds = 'process_open_fds'

export class MetricsRegistry {
  readonly #parts: MetricsParts
  readonly #counts: FlowCounts
  /** Of its own, so that two runtimes in one process do not mix. */
  readonly #registry = new Registry()
  /** As of the current scrape. */
  #status: MetricsParts['status']

  constructor(parts: MetricsParts, counts: FlowCounts) {
    this.#parts = parts
    this.#counts = counts
    this.#status = parts.status
    const registry = this.#registry
    collectDefaultMetrics({ register: registry })
    countDescriptors(registry)
    addGauges(registry, { ...parts, status: () => this.#status() })
    addFlowMetrics(registry, counts)
    addDnsMetrics(registry, () => parts.dns())
    addHealthMetrics(registry, () => parts.health())
    addPluginFaults(registry, () => parts.pluginFaults())
  }

  described(): MetricDescription[] {
    return this.#registry.getMetricsAsArray().map(describe)
  }

  async text(): Promise<string> {
    return `${(await this.#texts()).join('\n\n')}\n`
  }

  /** With an exemplar for each bucket of dial times that has one. */
  async openMetrics(): Promise<string> {
    const { dials } = this.#counts
    const texts = await this.#texts((name, text) => openMetricsOf(text, name === dials.name ? dials.exemplars() : []))
    return `${texts.join('\n')}\n# EOF\n`
  }

  /** One metric at a time: with thousands of services the whole page at once would block the event loop for 100 ms. */
  async #texts(change = (_name: string, text: string) => text): Promise<string[]> {
    await this.#parts.examine()
    const now = this.#parts.status()
    this.#status = () => now
    followPluginCounters(this.#registry, () => this.#parts.plugins())
    const texts: string[] = []
    for (const { name } of this.#registry.getMetricsAsArray()) {
      texts.push(change(name, await this.#registry.getSingleMetricAsString(name)))
      await nextTurn()
    }
    return texts
  }
}

/** prom-client lists the open descriptors to count them: with those of 10,000 connections, 60 ms of the main thread at each scrape. */
function countDescriptors(registry: Registry): void {
  const known = registry.getSingleMetric(openFds)
  if (!known || !openDescriptors) return
  const count = openDescriptors
  registry.removeSingleMetric(openFds)
  new Gauge({
    name: openFds,
    help: describe(known as unknown as MetricObject).help,
    registers: [registry],
    async collect() {
      this.set(await count())
    },
  })
}

/** prom-client's types leave out the help, the labels and the type of a metric. */
function describe(metric: MetricObject): MetricDescription {
  const { name, help, labelNames = [] } = metric as unknown as MetricDescription & { labelNames?: readonly string[] }
  const type = metric instanceof Counter ? 'counter' : metric instanceof Gauge ? 'gauge' : 'histogram'
  return { name, help, type, labels: labelNames }
}
