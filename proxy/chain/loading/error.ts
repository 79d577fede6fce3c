/** A plugin that cannot be found, imported or created. The caller adds its place in the configuration. */
export class PluginLoadError extends Error {}
