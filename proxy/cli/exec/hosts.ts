/** The services of the mesh as lines of /etc/hosts. */
import type { ServiceView, Status } from '../../model/views.ts'

const hostName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/

/**
 * The text of /etc/hosts with the services of the mesh added at its end. Names that the file already has are left out, since
 * the hosts file also wins against DNS: a service called `localhost` changes nothing.
 */
export function hostsText(
  before: string,
  services: readonly ServiceView[],
  zones: Pick<Status['dns'], 'domain' | 'clusterset'>,
  namespace: string,
): string {
  const taken = new Set(before.split('\n').flatMap(line => line.replace(/#.*/, '').trim().split(/\s+/).slice(1)))
  const lines = services.flatMap(service => {
    const names = namesOf(service, zones, namespace).filter(name => hostName.test(name) && !taken.has(name))
    return names.length > 0 ? addressesOf(service).map(address => `${address} ${names.join(' ')}\n`) : []
  })
  const gap = before === '' || before.endsWith('\n') ? '' : '\n'
  return `${before}${gap}# written by starlane exec\n${lines.join('')}`
}

/** The names by which a Pod in namespace `from` finds the service through its search list. */
function namesOf(
  { namespace, name }: ServiceView,
  zones: Pick<Status['dns'], 'domain' | 'clusterset'>,
  from: string,
): string[] {
  const full = `${name}.${namespace}.svc`
  const short = namespace === from ? [name] : []
  return [`${full}.${zones.domain}`, `${full}.${zones.clusterset}`, full, `${name}.${namespace}`, ...short]
}

function addressesOf({ headless, frontends, backends }: ServiceView): string[] {
  const ready = backends.filter(b => b.state === 'active' && b.health !== 'down' && b.health !== 'ejected')
  return [...new Set(headless ? ready.map(b => b.address) : frontends.map(f => f.ip))]
}
