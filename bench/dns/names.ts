/** The names and addresses of the zone that every server has. */
export function serviceName(index: number): string {
  return `service-${index}.default.svc.cluster.local`
}

export function addressOf(index: number): string {
  return `10.96.${index >> 8}.${index & 255}`
}
