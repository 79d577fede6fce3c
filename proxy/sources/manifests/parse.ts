/** Parses a manifest. */
import { parseJson } from './parse-json.ts'
import { parseYaml } from './parse-yaml.ts'
import type { Step } from './raw-object.ts'

/** kubectl skips a byte order mark before any document; files that were joined have one in the middle. */
const marks = /(?<![^\n\r])\ufeff/g

/**
 * The objects of a manifest, YAML or JSON, whatever the file is called. Text that looks like JSON goes to JSON.parse first,
 * which is many times as fast. If that fails it is read as YAML, whose errors have a line. Throws SyntaxFault, perhaps after
 * some objects.
 */
export function* parseManifest(given: string): Generator<Step> {
  const text = given.includes('\ufeff') ? given.replace(marks, '') : given
  if (/^\s*\{/.test(text) && (yield* parseJson(text, 1))) return
  yield* parseYaml(text)
}
