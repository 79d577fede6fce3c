/** Which names a plugin may have. */
import { shown } from '../../config/fields.ts'
import { refusalCodes } from '../../model/refusal.ts'
import { isPluginName } from '../../model/text/plugin-name.ts'

/** A plugin refuses under its name, so it may not have the name of a code of Starlane's own. */
const reserved = [...Object.keys(refusalCodes), 'starlane']

/** What is wrong with the name of a plugin, and how to mend it; undefined when nothing is. */
export function faultOfName(name: unknown): string | undefined {
  if (typeof name !== 'string' || !isPluginName(name))
    return `${shown(name)} is not a valid name; use a-z, 0-9 and -, starting with a letter`
  return reserved.includes(name) ? `${shown(name)} is reserved by Starlane; use another name` : undefined
}
