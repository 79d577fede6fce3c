/** Parses a manifest. */
import { parseJson } from './parse-json.ts'
import { parseYaml } from './parse-yaml.ts'
import type { RawObject } from './raw-object.ts'

/**
 * The objects of a manifest, YAML or JSON, whatever the file is called. Text that looks like JSON goes to JSON.parse first,
 * which is many times as fast. If that fails it is read as YAML, whose errors have a line. Throws SyntaxFault, perhaps after
 * some objects.
 */
export function parseManifest(text: string): Iterable<RawObject> {
  return (/^\s*\{/.test(text) ? parseJson(text) : undefined) ?? parseYaml(text)
}
