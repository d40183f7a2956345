// Private endpoints, each with the DNS zones in which it is found.
param location string
param tags object
param subnetId string
@description('{name, target: resource id, group, zones}')
param endpoints array

resource links 'Microsoft.Network/privateEndpoints@2025-09-01' = [for endpoint in endpoints: {
  name: endpoint.name
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: endpoint.name
        properties: {
          privateLinkServiceId: endpoint.target
          groupIds: [
            endpoint.group
          ]
        }
      }
    ]
  }
}]

module names 'private_dns.bicep' = [for endpoint in endpoints: {
  name: 'dns-${endpoint.name}'
  params: {
    endpointName: endpoint.name
    zones: endpoint.zones
  }
  dependsOn: [
    links
  ]
}]
