import { bad, type Field, field, parseServicePattern, type ServicePattern, shown } from '../../proxy/plugin.ts'

/** As {@link parseServicePattern} reads it. */
export function pattern(help: string): Field<ServicePattern> {
  return field('NAMESPACE/NAME', help, undefined, value => {
    const parsed = typeof value === 'string' ? parseServicePattern(value) : undefined
    return parsed ?? bad(`${shown(value)} names no services; write namespace/name, with * for any`)
  })
}
