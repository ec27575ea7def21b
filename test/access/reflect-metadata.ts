/**
 * What tsyringe (beneath @peculiar/x509) insists on finding. No metadata is ever defined, because nothing here is
 * compiled with decorator metadata. Import before `@peculiar/x509`.
 */
const reflect = Reflect as { getMetadata?: () => undefined; getOwnMetadata?: () => undefined };
reflect.getMetadata ??= () => undefined;
reflect.getOwnMetadata ??= () => undefined;
