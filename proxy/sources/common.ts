/** Values that most endpoints and services have in common: equal ones are the same object, in all clusters. */
import { Kept } from '../model/lists/kept.ts'
import type { EndpointPort } from '../model/service.ts'

const texts = new Kept<string>()
const lists = new Kept<readonly EndpointPort[]>()

/** The name of a zone, for example. */
export function commonText(text: string): string {
  return texts.of(text, text)
}

export function commonPorts(ports: readonly EndpointPort[]): readonly EndpointPort[] {
  return lists.of(JSON.stringify(ports), Object.freeze(ports))
}
