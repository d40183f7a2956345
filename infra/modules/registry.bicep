// The AzureML registry: what people approved, and nothing that is still on the way.
param name string
param location string
param tags object
param privateNetwork bool
@description('Who copies models and environments into it: {name, principal}.')
param promoters array
param buildPrincipal string
@description('Identities of clusters that score: {name, principal}.')
param scorers array
@description('Role definition names of roles.bicep.')
param promoterRole string
param readerRole string

var roles = loadYamlContent('../rbac.yml').roles

resource registry 'Microsoft.MachineLearningServices/registries@2025-06-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    regionDetails: [
      {
        location: location
        acrDetails: [
          {
            systemCreatedAcrAccount: {
              acrAccountSku: 'Premium'
            }
          }
        ]
        storageAccountDetails: [
          {
            systemCreatedStorageAccount: {
              storageAccountType: 'Standard_ZRS'
              storageAccountHnsEnabled: false
              allowBlobPublicAccess: false
            }
          }
        ]
      }
    ]
  }
}

resource promotion 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for promoter in promoters: {
  name: guid(registry.id, promoter.name, 'fleet promoter')
  scope: registry
  properties: {
    principalId: promoter.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', promoterRole)
  }
}]

resource build 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, 'build', 'AzureML Registry User')
  scope: registry
  properties: {
    principalId: buildPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['AzureML Registry User'])
  }
}

resource readers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for scorer in scorers: {
  name: guid(registry.id, scorer.name, 'fleet registry reader')
  scope: registry
  properties: {
    principalId: scorer.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', readerRole)
  }
}]

output id string = registry.id
output name string = registry.name
