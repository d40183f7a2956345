// The zones of this resource group in which one private endpoint is found.
param endpointName string
param zones array

resource endpoint 'Microsoft.Network/privateEndpoints@2025-09-01' existing = {
  name: endpointName
}

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-09-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [for zone in zones: {
      name: replace(zone, '.', '-')
      properties: {
        privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', zone)
      }
    }]
  }
}
