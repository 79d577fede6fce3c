/** An object of a manifest before decoding, and the lines of its fields. */
import type { Path } from '../../config/fields.ts'
import { tame } from '../../model/text/spelling.ts'
import { loadYaml } from './yaml.ts'

export interface RawObject {
  readonly value: unknown
  /** The line of the file where its text begins, from 1. */
  readonly line: number
  readonly text: string
}

/** What a parser yields: the next object, or undefined where the caller may pause. */
export type Step = RawObject | undefined

/** No API server takes an object of more than 1.5 MiB (etcd, --max-request-bytes). A longer text is parsed only where it is a list. */
export const maxObjectLength = 2 << 20

/** The text is neither YAML nor JSON. */
export class SyntaxFault extends Error {
  /** From 1. */
  readonly line: number

  /** The message may quote the text, so it is made safe for a terminal. */
  constructor(message: string, line: number) {
    super(tame(message))
    this.line = line
  }
}

/**
 * Finds the line of a field, or of the mapping that lacks it. Parses the text a second time, which only invalid objects need.
 * JSON is parsed as YAML.
 */
export function linesOf({ text, line }: RawObject): (path: Path) => number {
  try {
    const [document] = loadYaml(text)
    return path => line + countLines(text, 0, document?.locate(path) ?? 0)
  } catch {
    // Text cut out of a flow-style line may not be valid by itself: use the object's line.
    return () => line
  }
}

/** The number of line breaks between two offsets. */
export function countLines(text: string, from: number, to: number): number {
  const part = text.slice(from, to)
  let lines = 0
  for (let at = part.indexOf('\n'); at !== -1; at = part.indexOf('\n', at + 1)) lines++
  return lines
}
