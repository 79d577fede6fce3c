/** Names of plugins. They become parts of refusals, log lines, metric names and file names. */
export function isPluginName(text: string): boolean {
  return /^[a-z][a-z0-9-]{0,62}$/.test(text)
}
