/** Health checks of backends behind gateways: their own cluster checks them, and its gateways tell. */
import {
  type CheckedEndpoint,
  type CheckResult,
  failed,
  type Probe,
  passed,
  resultOfError,
  Unanswered,
} from '../../health/probe.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { TunnelClient } from '../../tunnel/client/tunnel-client.ts'

/** `direct` checks what is reached without a gateway. A gateway that does not tell, such as a ztunnel, is asked to connect. */
export function gatewayProbe(direct: Probe, tunnels: () => TunnelClient, timeoutMs: number, clock: Clock): Probe {
  return {
    check: async endpoint =>
      endpoint.network === undefined
        ? direct.check(endpoint)
        : (told(tunnels(), endpoint) ?? (await connects(tunnels(), endpoint, timeoutMs, clock))),
    destroy: () => direct.destroy(),
  }
}

/** What the gateways say; undefined while they say nothing. */
export function told(tunnels: TunnelClient, { network = '', address, port }: CheckedEndpoint): CheckResult | undefined {
  const health = tunnels.healthOf(network, address, port, 'TCP')
  switch (health) {
    case undefined:
      return undefined
    case 'unknown':
    case 'up':
      return passed
    case 'unreachable':
      return failed(`no gateway of ${network} can be reached: ${tunnels.failureOf(network)}`)
    case 'gone':
      return failed(`the gateway of ${network} does not serve it`)
    default:
      return failed(`the gateway of ${network} says that it is ${health}`)
  }
}

function connects(
  tunnels: TunnelClient,
  { network = '', address, port }: CheckedEndpoint,
  timeoutMs: number,
  clock: Clock,
): Promise<CheckResult> {
  return new Promise(resolve => {
    const giveUp = tunnels.dialTo(network, address, port, nobody, (error, stream) => {
      cancel()
      stream?.reset()
      resolve(error ? resultOfError(error) : passed)
    })
    const cancel = clock.after(timeoutMs, () => {
      giveUp()
      resolve(resultOfError(new Unanswered(`no answer within ${timeoutMs} ms`)))
    })
  })
}

/** A check is nobody's flow. */
const nobody = { address: '0.0.0.0', port: 0 }
