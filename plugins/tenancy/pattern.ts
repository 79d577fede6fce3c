/** An option that is a pattern of services. */
import { bad, type Field, field, parseServicePattern, type ServicePattern, shown } from '../../proxy/plugin.ts'

/** The syntax is that of {@link parseServicePattern}. */
export function pattern(help: string): Field<ServicePattern> {
  return field('NAMESPACE/NAME', help, undefined, value => {
    const parsed = typeof value === 'string' ? parseServicePattern(value) : undefined
    return parsed ?? bad(`${shown(value)} is not a service pattern; write NAMESPACE/NAME, with * as a wildcard`)
  })
}
