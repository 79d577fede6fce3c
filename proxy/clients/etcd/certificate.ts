import { X509Certificate } from 'node:crypto'
import { messageOf } from '../../model/error.ts'

/** What makes a certificate useless at `now` (wall-clock milliseconds), in words that name the file and the way out. */
export function certificateFault(pem: Uint8Array, file: string, now: number): string | undefined {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(pem)
  } catch (error) {
    return `${file} holds no certificate (${messageOf(error)}); give a PEM file`
  }
  const { validFromDate, validToDate, subject } = certificate
  const who = subject.replaceAll('\n', ', ')
  if (validToDate.getTime() < now) return `the certificate ${file} (${who}) expired on ${dayOf(validToDate)}; renew it`
  if (validFromDate.getTime() > now) {
    return `the certificate ${file} (${who}) is not valid before ${dayOf(validFromDate)}; check the clock of this machine`
  }
  return undefined
}

function dayOf(date: Date): string {
  return date.toISOString().slice(0, 16).replace('T', ' ')
}
