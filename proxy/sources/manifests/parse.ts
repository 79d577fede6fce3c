import { parseJson } from './parse-json.ts'
import { parseYaml } from './parse-yaml.ts'
import type { RawObject } from './raw-object.ts'

/**
 * The objects of a manifest, YAML or JSON whatever the file is called. JSON's own parser goes first where the text looks
 * like it, being many times as fast; what it refuses is read as YAML, which tells the line of the fault.
 * Throws SyntaxFault, also after some objects have been given.
 */
export function parseManifest(text: string): Iterable<RawObject> {
  return (/^\s*\{/.test(text) ? parseJson(text) : undefined) ?? parseYaml(text)
}
