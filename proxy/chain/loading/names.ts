import { shown } from '../../config/fields.ts'

/** Codes of refusals that are Starlane's own; a plugin of such a name would be blamed for what is not its doing. */
const taken = ['no-backend', 'limit', 'draining', 'starlane']

/** Names of plugins are parts of refusals, metrics and file names. */
export function isName(text: string): boolean {
  return /^[a-z][a-z0-9-]{0,62}$/.test(text)
}

/** What is wrong with a name for a plugin, and what would do. */
export function faultOfName(name: unknown): string | undefined {
  if (typeof name !== 'string' || !isName(name))
    return `${shown(name)} is no name; write a-z, 0-9 and -, a letter first`
  return taken.includes(name) ? `${shown(name)} is a name that Starlane keeps for itself; take another` : undefined
}
