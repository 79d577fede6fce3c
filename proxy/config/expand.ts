/** Environment variables in scalars: `${NAME}`; `${NAME:-default}` if unset or empty; `$${` for a literal `${`. */
import { shown } from '../model/text/spelling.ts'

export type Env = Readonly<Record<string, string | undefined>>

/** Replaces variables by their values, and calls `complain` for each one that is malformed or not set. */
export function expand(written: string, env: Env, complain: (message: string) => void): string {
  return written.replace(/\$\$\{|\$\{([^}]*)(\}?)/g, (found, inside: string | undefined, end: string | undefined) => {
    if (inside === undefined) return '${'
    const match = /^([A-Za-z_]\w{0,99})(?::-([^${]*))?$/.exec(inside)
    if (!match || end === '') {
      complain(`${shown(found)} is not a variable; write \${NAME} or \${NAME:-default}, and $\${ for a literal \${`)
      return ''
    }
    const [, name = '', fallback] = match
    const value = Object.hasOwn(env, name) ? env[name] : undefined
    if (fallback !== undefined) return value || fallback
    if (value === undefined)
      complain(`the environment variable ${name} is not set; set it, or write \${${name}:-default}`)
    return value ?? ''
  })
}
