/** Counters of plugins, as the chain reports them and as the metrics page shows them. */

/** A counter that a plugin has created. */
export interface PluginCounter {
  /** `starlane_plugin_circuit_breaker_opened_total` */
  readonly metric: string
  readonly help: string
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

/** How often a hook of a plugin threw or broke a law of the plugin API. */
export interface HookFaultCount {
  readonly plugin: string
  readonly hook: string
  readonly count: number
}
