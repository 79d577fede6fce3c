/** Label and field selectors of list and watch requests. */
import { StatusError } from '../http/status-error.ts'
import { at, type KubeObject } from '../types.ts'

export type Selector = (object: KubeObject) => boolean

/** `app=web,tier!=db,env in (a,b),!legacy,owner`, and `metadata.name=web` for fields. */
export function selectorOf(query: URLSearchParams): Selector {
  const tests = [
    ...splitOutside(query.get('labelSelector') ?? '').map(labelTest),
    ...splitOutside(query.get('fieldSelector') ?? '').map(fieldTest),
  ]
  return object => tests.every(test => test(object))
}

function labelTest(requirement: string): Selector {
  const set = /^\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*$/.exec(requirement)
  if (set) {
    const [, key = '', operator, list = ''] = set
    const values = list.split(',').map(value => value.trim())
    return ({ metadata: { labels = {} } }) => {
      const value = labels[key]
      return operator === 'in'
        ? value !== undefined && values.includes(value)
        : value === undefined || !values.includes(value)
    }
  }
  const equal = /^\s*([^=!\s]+)\s*(==|=|!=)\s*(\S*)\s*$/.exec(requirement)
  if (equal) {
    const [, key = '', operator, value] = equal
    return ({ metadata: { labels = {} } }) => (labels[key] === value) === (operator !== '!=')
  }
  const [, not, key = ''] = /^\s*(!?)\s*([\w./-]+)\s*$/.exec(requirement) ?? []
  if (key === '') throw new StatusError(400, 'BadRequest', `unable to parse requirement: ${requirement}`)
  return ({ metadata: { labels = {} } }) => Object.hasOwn(labels, key) === (not === '')
}

function fieldTest(requirement: string): Selector {
  const [, path = '', operator, value] = /^([^=!]+)(==|=|!=)(.*)$/.exec(requirement) ?? []
  if (path === '') throw new StatusError(400, 'BadRequest', `invalid field selector: ${requirement}`)
  return object => (String(at(object, path) ?? '') === value) === (operator !== '!=')
}

/** At commas, but not at those between parentheses. */
function splitOutside(text: string): string[] {
  return text.split(/,(?![^(]*\))/).filter(part => part.trim() !== '')
}
