/** Collects what is wrong with a policy, or cannot be decided, while it is read. */
import type { Finding } from '../../../proxy/plugin.ts'

export type Path = readonly (string | number)[]

/** `spec.ingress[0].toPorts[1]` */
export function pathText(path: Path): string {
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  )
}

export class Notes {
  readonly findings: Finding[] = []
  /** How many fields were met that are not known here. What they stand in means less without them, so it must not allow more. */
  ignored = 0
  readonly #where: string
  readonly #subject: string

  constructor(where: string, subject: string) {
    this.#where = where
    this.#subject = subject
  }

  /** Something that an API server would refuse. */
  fault(path: Path, message: string): void {
    this.#add(path, message)
  }

  /** Something that is valid, and cannot be decided here. */
  undecided(path: Path, message: string): void {
    this.#add(path, message)
  }

  /** The fields of a mapping; one that is not among `known` is noted. Undefined for another value. */
  fields<K extends string>(value: unknown, path: Path, known: readonly K[]): Partial<Record<K, unknown>> | undefined {
    const mapping = this.mapping(value, path)
    if (!mapping) return undefined
    for (const key of Object.keys(mapping)) {
      if (!known.some(each => each === key)) this.unknown([...path, key])
    }
    return mapping as Partial<Record<K, unknown>>
  }

  unknown(path: Path): void {
    this.ignored++
    this.#add(path, 'is not known here, and what it means is not taken into account')
  }

  mapping(value: unknown, path: Path): Readonly<Record<string, unknown>> | undefined {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
    this.fault(path, 'is not a mapping')
    return undefined
  }

  /** Absent and null are an empty list. Undefined for another value. */
  list(value: unknown, path: Path): readonly unknown[] | undefined {
    if (value === undefined || value === null) return []
    if (Array.isArray(value)) return value
    this.fault(path, 'is not a list')
    return undefined
  }

  #add(path: Path, message: string): void {
    this.findings.push({ where: this.#where, message: `${this.#subject}: ${pathText(path)}: ${message}` })
  }
}
