import type { Path } from '../../config/fields.ts'
import { loadYaml } from './yaml.ts'

/** One object of a manifest file, not looked into yet. */
export interface RawObject {
  readonly value: unknown
  /** The line of the file that its text begins with, counted from 1. */
  readonly line: number
  readonly text: string
}

/** The file cannot be read as what it claims to be. */
export class SyntaxFault extends Error {
  /** Counted from 1. */
  readonly line: number

  constructor(message: string, line: number) {
    super(message)
    this.line = line
  }
}

/**
 * Tells the line of a field, or of what should have it. It reads the text a second time, which is for the few objects with
 * something wrong in them; JSON is read as the YAML that it is too.
 */
export function linesOf({ text, line }: RawObject): (path: Path) => number {
  try {
    const [document] = loadYaml(text)
    return path => line + countLines(text, 0, document?.locate(path) ?? 0)
  } catch {
    // Cut out of a line in flow style, the text may not stand alone: then the object's line must do.
    return () => line
  }
}

/** Line breaks from one offset to another. Looks no further, since a file may be one long line. */
export function countLines(text: string, from: number, to: number): number {
  const part = text.slice(from, to)
  let lines = 0
  for (let at = part.indexOf('\n'); at !== -1; at = part.indexOf('\n', at + 1)) lines++
  return lines
}
